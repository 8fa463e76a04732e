//! `[[files]]` and `[transfer]` as the file has them: known keys, right types, places.

use tieline_transfer::outbox::rules::IGNORE_MAX;

use super::super::document::{At, Table};
use super::super::mistake::Mistake;
use super::super::problems::Collector;
use super::{EXPECTED_MAX, PAIRS_MAX, PRIORITIES};

/// Every key of one `[[files]]`; `None` where it is not there, or is wrong and was noted.
#[derive(Debug)]
pub(in super::super) struct WrittenFiles {
    pub(super) name: Option<At<String>>,
    pub(super) outbox: Option<At<String>>,
    pub(super) inbox: Option<At<String>>,
    pub(super) after: Option<At<String>>,
    pub(super) settle: Option<At<String>>,
    pub(super) rescan: Option<At<String>>,
    pub(super) ignore: Option<At<Vec<At<String>>>>,
    pub(super) done_suffix: Option<At<String>>,
    pub(super) priority: Option<At<u16>>,
    pub(super) links: Option<At<String>>,
    pub(super) same_name: Option<At<String>>,
    pub(super) owner: Option<At<String>>,
    pub(super) times: Option<At<bool>>,
    pub(super) modes: Option<At<bool>>,
    pub(super) xattrs: Option<At<bool>>,
    pub(super) expect: Vec<WrittenExpected>,
    pub(super) on_delivered: Option<At<String>>,
    pub(super) on_failed: Option<At<String>>,
    pub(super) on_waiting: Option<At<String>>,
    pub(super) webhook: Option<At<String>>,
}

/// Every key of one expected file.
#[derive(Debug)]
pub(super) struct WrittenExpected {
    pub(super) name: Option<At<String>>,
    pub(super) by: Option<At<String>>,
}

/// Every key of `[transfer]`.
#[derive(Debug)]
pub(in super::super) struct WrittenTransfer {
    pub(super) policy: Option<At<String>>,
    pub(super) rate: Option<At<String>>,
    pub(super) schedule: Option<At<String>>,
}

/// Takes all pairs of folders out of the file.
pub(in super::super) fn read_files(file: &mut Table<'_>, problems: &mut Collector<'_>) -> Vec<WrittenFiles> {
    file.tables("files", PAIRS_MAX, problems).into_iter().map(|table| read_pair(table, problems)).collect()
}

/// Takes `[transfer]` out of the file.
pub(in super::super) fn read_transfer(file: &mut Table<'_>, problems: &mut Collector<'_>) -> WrittenTransfer {
    let mut table = file.table("transfer", "transfer.", problems);
    let policy = table.text("policy", problems);
    let rate = if policy.as_ref().is_some_and(|policy| policy.value == "fixed") {
        table.required_text(
            "rate",
            "with policy \"fixed\" files take this rate; write what is paid for, such as \"50 Mbit/s\"",
            problems,
        )
    } else {
        table.text("rate", problems)
    };
    let schedule = table.text("schedule", problems);
    table.finish(problems);
    WrittenTransfer { policy, rate, schedule }
}

fn read_pair(mut table: Table<'_>, problems: &mut Collector<'_>) -> WrittenFiles {
    const NAME: &str = "write the name that the pair has at both ends";
    let written = WrittenFiles {
        name: table.required_text("name", NAME, problems),
        outbox: table.text("outbox", problems),
        inbox: table.text("inbox", problems),
        after: table.text("after", problems),
        settle: table.text("settle", problems),
        rescan: table.text("rescan", problems),
        ignore: table.texts("ignore", IGNORE_MAX, problems),
        done_suffix: table.text("done-suffix", problems),
        priority: table.number("priority", PRIORITIES, "(the greatest goes first)", problems),
        links: table.text("links", problems),
        same_name: table.text("same-name", problems),
        owner: table.text("owner", problems),
        times: table.boolean("times", problems),
        modes: table.boolean("modes", problems),
        xattrs: table.boolean("xattrs", problems),
        expect: read_expected(&mut table, problems),
        on_delivered: table.text("on-delivered", problems),
        on_failed: table.text("on-failed", problems),
        on_waiting: table.text("on-waiting", problems),
        webhook: table.text("webhook", problems),
    };
    if !table.had("outbox") && !table.had("inbox") {
        table.wrong(problems, Mistake::NoFolder);
    }
    written.check_effect(&table, problems);
    table.finish(problems);
    written
}

fn read_expected(table: &mut Table<'_>, problems: &mut Collector<'_>) -> Vec<WrittenExpected> {
    let mut expected = Vec::new();
    for mut file in table.tables("expect", EXPECTED_MAX, problems) {
        let name =
            file.required_text("name", "write how the file is named, such as \"payroll*.csv\"", problems);
        let by = file.required_text("by", "write when it has to be there, such as \"18:00\"", problems);
        file.finish(problems);
        expected.push(WrittenExpected { name, by });
    }
    expected
}

impl WrittenFiles {
    /// Notes the keys of a folder that this pair does not have here.
    fn check_effect(&self, table: &Table<'_>, problems: &mut Collector<'_>) {
        let place = |value: &Option<At<String>>| value.clone().map(|value| value.map(drop));
        let of_outbox = [
            place(&self.after),
            place(&self.settle),
            place(&self.rescan),
            self.ignore.clone().map(|ignore| ignore.map(drop)),
            place(&self.done_suffix),
            self.priority.clone().map(|priority| priority.map(drop)),
        ];
        let of_inbox = [place(&self.same_name)];
        // Without either there is one mistake, and it has been noted.
        if table.had("inbox") && !table.had("outbox") {
            for key in of_outbox.into_iter().flatten() {
                key.wrong(problems, Mistake::NeedsFolder("outbox"));
            }
        }
        if table.had("outbox") && !table.had("inbox") {
            for key in of_inbox.into_iter().flatten() {
                key.wrong(problems, Mistake::NeedsFolder("inbox"));
            }
        }
    }
}
