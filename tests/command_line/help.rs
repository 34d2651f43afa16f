//! The help of the tool and of each command, held by files in `tests/fixtures/command_line/`.

use std::{env, fs, path::PathBuf};

use crate::program::{finish, ttn};

/// Writes the files anew instead of comparing with them.
const RENEW: &str = "TTN_TEST_RENEW_HELP";

const LINES: usize = 40;
const COLUMNS: usize = 80;

#[track_caller]
fn help_of(command: &str) -> String {
    let (status, out, errors) = match command {
        "ttn" => finish(ttn(["--help"])),
        command => finish(ttn([command, "--help"])),
    };
    assert_eq!((status, errors.as_str()), (0, ""), "{command}");
    out
}

/// Returns the names of the commands, as the help of the tool lists them.
fn commands() -> Vec<String> {
    let help = help_of("ttn");
    let list = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let list = list.take_while(|line| !line.is_empty());
    let name = |line: &str| line.split_whitespace().next().map(str::to_owned);
    let commands: Vec<String> = list
        .filter_map(name)
        .filter(|name| name != "help")
        .collect();
    assert!(commands.len() >= 12, "{commands:?}");
    commands
}

fn all() -> impl Iterator<Item = String> {
    commands().into_iter().chain(["ttn".to_owned()])
}

#[test]
fn the_help_of_every_command_fits_a_screen() {
    for command in all() {
        let help = help_of(&command);
        let lines = help.lines().count();
        assert!(lines <= LINES, "{command}: {lines} lines\n{help}");
        for line in help.lines() {
            let columns = line.chars().count();
            assert!(columns <= COLUMNS, "{command}: {columns} columns: {line}");
        }
    }
}

#[test]
fn the_help_of_every_command_ends_with_an_example() {
    for command in all() {
        let help = help_of(&command);
        let last = help.split("\n\n").last().unwrap_or_default();
        let is_example = |line: &str| match command.as_str() {
            "ttn" => line.starts_with("  ttn "),
            command => line.contains(&format!("ttn {command}")),
        };
        assert!(
            last.starts_with("Example") && last.lines().any(is_example),
            "{command}: the help does not end with an example:\n{help}"
        );
    }
}

#[test]
fn the_help_says_the_same_for_every_option_of_the_connection() {
    let mut seen = Vec::new();
    for command in all() {
        let help = help_of(&command);
        let part = help
            .split("\n\n")
            .find(|part| part.starts_with("Connection:"));
        let Some(part) = part else { continue };
        let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        let part: Vec<String> = part.lines().map(words).collect();
        seen.push((command, part));
    }
    let (_, first) = seen.first().expect("commands that connect");
    for (command, part) in &seen {
        assert_eq!(part, first, "{command}");
    }
}

#[test]
fn the_help_has_changed_only_on_purpose() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/command_line");
    let mut changed = Vec::new();
    for command in all() {
        let found = help_of(&command);
        let file = folder.join(format!("{command}.txt"));
        if env::var_os(RENEW).is_some() {
            fs::create_dir_all(&folder).expect("the folder can be created");
            fs::write(&file, &found).expect("the file can be written");
        }
        let expected = fs::read_to_string(&file).unwrap_or_default();
        if found != expected.replace("\r\n", "\n") {
            changed.push(format!("{}:\n{found}", file.display()));
        }
    }
    assert!(
        changed.is_empty(),
        "the help has changed; if it is right, run this test with {RENEW}=1 and look at the difference\n{}",
        changed.join("\n")
    );
}

#[test]
fn the_help_of_a_command_is_also_behind_help() {
    let (status, out, errors) = finish(ttn(["help", "send"]));
    assert_eq!((status, errors.as_str()), (0, ""));
    assert_eq!(out, help_of("send"));
}
