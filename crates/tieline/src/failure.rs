//! How a subcommand fails: with an exit status, and sentences that say what went wrong and why.

use std::error::Error;
use std::io::Write;
use std::process::ExitCode;

use serde::Serialize;
use tieline_node::config::Problems;
use tieline_node::places::PlacesError;

use crate::output;

/// What an exit status says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// 1: it was not done, or is not so.
    Failed,
    /// 2: the arguments or the configuration must be mended first.
    Wrong,
}

/// The error of a subcommand.
pub(crate) trait CommandError: Error + 'static {
    /// Which exit status it has.
    fn exit(&self) -> Exit;

    /// The mistakes in the files of a line, if they are the reason.
    fn problems(&self) -> Option<&Problems> {
        None
    }

    /// Whether a report was made that says it already; as JSON it is not followed by a second document.
    fn is_in_report(&self) -> bool {
        false
    }

    /// Whether there is nobody left to tell it to.
    fn is_silent(&self) -> bool {
        false
    }
}

/// The error of any subcommand.
#[derive(Debug)]
pub(crate) struct Failure(Box<dyn CommandError>);

impl<E: CommandError> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(Box::new(error))
    }
}

impl Failure {
    /// Tells it, and returns the exit status. As JSON it goes to standard output, where the report would have gone.
    pub(crate) fn tell(&self, as_json: bool) -> ExitCode {
        let told = match as_json {
            _ if self.0.is_silent() => Ok(()),
            true if self.0.is_in_report() => Ok(()),
            true => self.tell_json(),
            false => writeln!(std::io::stderr(), "{}", self.text()),
        };
        // Where nothing can be said any more, the exit status still is.
        drop(told);
        match self.0.exit() {
            Exit::Failed => ExitCode::from(1),
            Exit::Wrong => ExitCode::from(2),
        }
    }

    fn text(&self) -> String {
        match self.0.problems() {
            Some(problems) => {
                let count = problems.iter().count();
                let mistakes = if count == 1 { "this mistake" } else { "these mistakes" };
                format!("{problems}\ntieline: nothing was changed; mend {mistakes} first")
            }
            None => format!("tieline: {}", sentence(&*self.0)),
        }
    }

    fn tell_json(&self) -> std::io::Result<()> {
        #[derive(Serialize)]
        struct Told<'f> {
            error: String,
            #[serde(skip_serializing_if = "Option::is_none")]
            problems: Option<&'f Problems>,
        }
        let problems = self.0.problems();
        let error = match problems {
            Some(_) => "the files of the line hold mistakes".to_owned(),
            None => sentence(&*self.0),
        };
        output::write_json(&mut std::io::stdout(), &Told { error, problems })
    }
}

/// An error with what caused it, in one row: `cannot write FILE: No space left on device`.
pub(crate) fn sentence(error: &dyn Error) -> String {
    let mut sentence = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        // Some errors already say what caused them.
        if !sentence.ends_with(&said) {
            sentence.push_str(": ");
            sentence.push_str(&said);
        }
        cause = error.source();
    }
    sentence
}

impl CommandError for Problems {
    fn exit(&self) -> Exit {
        Exit::Wrong
    }

    fn problems(&self) -> Option<&Problems> {
        Some(self)
    }
}

impl CommandError for PlacesError {
    fn exit(&self) -> Exit {
        match self {
            Self::NoHome { .. }
            | Self::RuntimeTooLong { .. }
            | Self::NotAFolder(_)
            | Self::NotOwned { .. } => Exit::Wrong,
            Self::Io { .. } | Self::TooManyLines(_) => Exit::Failed,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    enum Sample {
        #[error("cannot write a.toml")]
        Caused(#[source] io::Error),
        #[error("cannot write a.toml: {0}")]
        SaysItself(#[source] io::Error),
    }

    #[test]
    fn causes_are_told_once_each() {
        for error in [Sample::Caused(io::Error::other("full")), Sample::SaysItself(io::Error::other("full"))]
        {
            assert_eq!(sentence(&error), "cannot write a.toml: full");
        }
    }
}
