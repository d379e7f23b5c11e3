//! How a command ends: the exit codes of every `debros` command, in one place.
//!
//! Scripts branch on these numbers, so they never change their meaning; `debros help exit-codes` prints this list.

use std::process::ExitCode;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It did what was asked.
    Ok,
    /// It failed for a reason that no other code names.
    Failed,
    /// The command line was wrong.
    Usage,
    /// A credential is missing or was refused.
    Auth,
    /// What was named does not exist.
    NotFound,
    /// The daemon or the cluster cannot answer now; trying again may help.
    Unavailable,
    /// The state forbids it: it exists already, or a quorum would be lost.
    Conflict,
    /// The operator did not confirm.
    Declined,
    /// A check ran and found problems.
    ProblemsFound,
    /// The time allowed has passed.
    Timeout,
    /// Interrupted by Ctrl-C.
    Interrupted,
}

impl Exit {
    /// Every exit, in the order of its code.
    pub const ALL: [Exit; 11] = [
        Exit::Ok,
        Exit::Failed,
        Exit::Usage,
        Exit::Auth,
        Exit::NotFound,
        Exit::Unavailable,
        Exit::Conflict,
        Exit::Declined,
        Exit::ProblemsFound,
        Exit::Timeout,
        Exit::Interrupted,
    ];

    /// The number that the shell sees. 124 and 130 are what `timeout(1)` and an interrupted shell use.
    pub const fn code(self) -> u8 {
        match self {
            Exit::Ok => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::Auth => 3,
            Exit::NotFound => 4,
            Exit::Unavailable => 5,
            Exit::Conflict => 6,
            Exit::Declined => 7,
            Exit::ProblemsFound => 8,
            Exit::Timeout => 124,
            Exit::Interrupted => 130,
        }
    }

    /// The stable word for machines.
    pub const fn name(self) -> &'static str {
        match self {
            Exit::Ok => "ok",
            Exit::Failed => "failed",
            Exit::Usage => "usage",
            Exit::Auth => "auth",
            Exit::NotFound => "not_found",
            Exit::Unavailable => "unavailable",
            Exit::Conflict => "conflict",
            Exit::Declined => "declined",
            Exit::ProblemsFound => "problems_found",
            Exit::Timeout => "timeout",
            Exit::Interrupted => "interrupted",
        }
    }

    /// What it means, for people.
    pub const fn meaning(self) -> &'static str {
        match self {
            Exit::Ok => "done",
            Exit::Failed => "failed",
            Exit::Usage => "wrong command line",
            Exit::Auth => "credential missing or refused",
            Exit::NotFound => "what was named does not exist",
            Exit::Unavailable => "daemon or cluster cannot answer now, try again",
            Exit::Conflict => "exists already, or a quorum would be lost",
            Exit::Declined => "not confirmed",
            Exit::ProblemsFound => "a check found problems (config check, cluster verify)",
            Exit::Timeout => "time is up",
            Exit::Interrupted => "interrupted",
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_the_published_ones() {
        let codes: Vec<u8> = Exit::ALL.into_iter().map(Exit::code).collect();
        assert_eq!(codes, [0, 1, 2, 3, 4, 5, 6, 7, 8, 124, 130]);
    }
}
