//! From what people type to what the parser takes.
//!
//! The parser (argh) wants flags after the last command word, separated from their values, and has no opinion about
//! near misses. So before it: `--flag=value` is split, `-h` and `--version` get their long meaning, and flags given
//! early move behind the command. After it: a refused word or flag gets the nearest existing one. Everything is read
//! off the parser's own description of the commands.

use std::collections::BTreeMap;

use argh::{CommandInfoWithArgs, FlagInfoKind};

use super::CliError;
use crate::types::Exit;

/// Least similarity of a suggestion: two slips in a word of seven letters.
const SIMILARITY_MIN: f64 = 0.6;

/// The arguments in the order and form that the parser takes.
pub(super) fn normalise(args: &[String], root: &CommandInfoWithArgs) -> Result<Vec<String>, CliError> {
    let end = args.iter().position(|arg| arg == "--").unwrap_or(args.len());
    let (args, verbatim) = args.split_at(end);
    let takes_value = flags_of(root);
    let mut args: Vec<String> = args.iter().flat_map(|arg| split_value(arg, &takes_value)).collect();
    if let Some(first) = args.first_mut().filter(|first| *first == "--version" || *first == "-V") {
        *first = "version".to_owned();
    }

    let (mut path, mut early) = (Vec::new(), Vec::new());
    let mut command = root;
    let mut rest = args.into_iter();
    while !command.commands.is_empty() {
        let Some(arg) = rest.next() else { break };
        if arg == "--help" || (arg == "help" && !path.is_empty()) {
            path.push("--help".to_owned());
            return Ok(path);
        }
        if arg.starts_with('-') {
            let value = takes_value.get(&arg).copied().unwrap_or(false).then(|| rest.next()).flatten();
            early.push(arg);
            early.extend(value);
            continue;
        }
        command = match command.commands.iter().find(|known| known.name == arg) {
            Some(known) => &known.command,
            None => return Err(unknown_command(&arg, &path, command)),
        };
        path.push(arg);
    }
    if !command.commands.is_empty() {
        return Err(incomplete(&path, command));
    }
    Ok(path.into_iter().chain(early).chain(rest).chain(verbatim.iter().cloned()).collect())
}

/// Every flag of every command, and whether it takes a value. A name means the same wherever it stands.
fn flags_of(command: &CommandInfoWithArgs) -> BTreeMap<String, bool> {
    let mut flags = BTreeMap::new();
    for flag in command.flags {
        let takes_value = matches!(flag.kind, FlagInfoKind::Option { .. });
        flags.insert(flag.long.to_owned(), takes_value);
        flags.extend(flag.short.map(|short| (format!("-{short}"), takes_value)));
    }
    for sub in &command.commands {
        flags.extend(flags_of(&sub.command));
    }
    flags
}

fn split_value(arg: &str, takes_value: &BTreeMap<String, bool>) -> Vec<String> {
    match arg.split_once('=') {
        Some((flag, value)) if takes_value.get(flag) == Some(&true) => vec![flag.to_owned(), value.to_owned()],
        _ if arg == "-h" => vec!["--help".to_owned()],
        _ => vec![arg.to_owned()],
    }
}

fn unknown_command(word: &str, path: &[String], parent: &CommandInfoWithArgs) -> CliError {
    let typed = spelled(path, word);
    let error = CliError::new(Exit::Usage, format!("unknown command `{typed}`"));
    match nearest(word, parent.commands.iter().map(|sub| sub.name)) {
        Some(name) => error.hint(format!("did you mean `{}`?", spelled(path, name))),
        None => error.hint(format!("`{}` lists the commands", spelled(path, "--help"))),
    }
}

fn incomplete(path: &[String], command: &CommandInfoWithArgs) -> CliError {
    let names: Vec<&str> = command.commands.iter().map(|sub| sub.name).collect();
    let error = CliError::new(Exit::Usage, format!("missing command: one of {}", names.join(", ")));
    error.hint(format!("`{}` tells more", spelled(path, "--help")))
}

/// The parser's refusal in our words.
pub(super) fn refused(output: &str, args: &[String], root: &CommandInfoWithArgs) -> CliError {
    let mut command = root;
    let mut path = Vec::new();
    for arg in args {
        let Some(sub) = command.commands.iter().find(|known| known.name == arg) else { break };
        command = &sub.command;
        path.push(arg.clone());
    }
    let message = output.trim();
    let help = format!("`{}` shows what it takes", spelled(&path, "--help"));
    if let Some(flag) = message.strip_prefix("Unrecognized argument: ") {
        let error = CliError::new(Exit::Usage, format!("`{}` does not take `{flag}`", spelled(&path, "").trim_end()));
        return match nearest(flag, command.flags.iter().map(|known| known.long)) {
            Some(name) => error.hint(format!("did you mean `{name}`?")),
            None => error.hint(help),
        };
    }
    let lines: Vec<&str> = message.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let mut message = lines.join(" ");
    if let Some(first) = message.get_mut(..1) {
        first.make_ascii_lowercase();
    }
    CliError::new(Exit::Usage, message).hint(help)
}

fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let scored = known.map(|name| (strsim::normalized_damerau_levenshtein(word, name), name));
    scored.filter(|(score, _)| *score >= SIMILARITY_MIN).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, name)| name)
}

fn spelled(path: &[String], last: &str) -> String {
    let words = ["debros"].into_iter().chain(path.iter().map(String::as_str)).chain([last]);
    words.collect::<Vec<_>>().join(" ")
}
