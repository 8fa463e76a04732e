//! `up` with a broken configuration: everything is said at once, and nothing is changed.

use std::fs;

use crate::end::LINE;
use crate::restore::Picture;
use crate::world::{Test, World};

pub(crate) const TESTS: &[Test] =
    &[Test::new("up_names_every_mistake_of_a_configuration_at_once_and_changes_nothing", every_mistake)
        .with(&["ip"])];

const BROKEN: &str = "\
listen = \"51820\"
offer = [\"10.1.0.0/33\", \"10.1.0.0/24\"]
mtu = 100
color = \"green\"
routes = \"yes\"

[peer]
public-key = \"short\"
address = \"office.example\"
";

fn every_mistake() {
    let world = World::bare().made();
    let file = world.end_a.config_file();
    fs::write(&file, BROKEN).unwrap();
    let before = Picture::of(world.a.gateway());
    for arguments in [&["up", LINE][..], &["up", LINE, "--foreground"]] {
        let output = world.end_a.run(arguments);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        let file = file.display();
        for (row, key) in [
            (1, "listen"),
            (2, "offer"),
            (3, "mtu"),
            (4, "color"),
            (5, "routes"),
            (8, "peer.public-key"),
            (9, "peer.address"),
        ] {
            let place = format!("{file}:{row}:");
            let is_said = said.lines().any(|line| line.contains(&place) && line.contains(key));
            assert!(is_said, "the mistake in {key} at {place} is not said:\n{said}");
        }
        assert!(said.contains("nothing was changed"), "{said}");
    }
    assert_eq!(Picture::of(world.a.gateway()), before);
    let files: Vec<_> =
        fs::read_dir(world.file("a")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(files, ["etc"], "no runtime folder was made");
}
