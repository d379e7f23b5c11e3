//! `debros cluster …`: membership, leadership, and whether the replicas agree.

use std::path::PathBuf;
use std::time::Duration;

use argh::{ArgsInfo, FromArgs};

use super::admin::{self, TIMEOUT_DEFAULT, positive_duration};
use super::output::{self, Format, or_dash};
use super::session::Assent;
use super::{CliError, Session};
use crate::config::format_duration;
use crate::types::admin::{Done, Invitation, NodeReport, Nodes, Request, Status, Verification};
use crate::types::role::InviteRole;
use crate::types::{Exit, NodeId};

/// How long a token may be used when nobody says: long enough to walk to the other machine.
const INVITE_TTL_DEFAULT: Duration = Duration::from_secs(60 * 60);

/// Membership, leadership, and whether the replicas agree.
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(subcommand, name = "cluster", example = "debros cluster status\ndebros cluster invite --role gateway")]
pub(super) struct Cluster {
    #[argh(subcommand)]
    verb: Verb,
}

#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(subcommand)]
enum Verb {
    Status(StatusCommand),
    Nodes(NodesCommand),
    Invite(Invite),
    Remove(Remove),
    TransferLeader(TransferLeader),
    Verify(Verify),
}

/// Show the cluster as this machine's daemon sees it.
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(subcommand, name = "status", example = "debros cluster status\ndebros cluster status --format json")]
struct StatusCommand {
    /// data directory of the daemon to ask
    #[argh(option, arg_name = "dir")]
    data_dir: Option<PathBuf>,
    /// table or json [default: table]
    #[argh(option, short = 'f', default = "Format::Table")]
    format: Format,
    /// longest wait for the answer [default: 30s]
    #[argh(option, short = 't', default = "TIMEOUT_DEFAULT", from_str_fn(positive_duration))]
    timeout: Duration,
}

/// List the members and whether they answer.
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(
    subcommand,
    name = "nodes",
    example = "debros cluster nodes\ndebros cluster nodes --data-dir ./n1 --format json"
)]
struct NodesCommand {
    /// data directory of the daemon to ask
    #[argh(option, arg_name = "dir")]
    data_dir: Option<PathBuf>,
    /// table or json [default: table]
    #[argh(option, short = 'f', default = "Format::Table")]
    format: Format,
    /// longest wait for the answer [default: 30s]
    #[argh(option, short = 't', default = "TIMEOUT_DEFAULT", from_str_fn(positive_duration))]
    timeout: Duration,
}

/// Print a token that lets one process join, once.
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(
    subcommand,
    name = "invite",
    example = "debros cluster invite\ndebros cluster invite --role gateway --ttl 10m\ndebros node --data-dir ./n2 --join \"$(debros cluster invite --data-dir ./n1)\""
)]
struct Invite {
    /// what may join: node or gateway [default: node]
    #[argh(option, default = "InviteRole::Node")]
    role: InviteRole,
    /// how long the token may be used [default: 1h]
    #[argh(option, default = "INVITE_TTL_DEFAULT", from_str_fn(positive_duration))]
    ttl: Duration,
    /// data directory of the daemon to ask
    #[argh(option, arg_name = "dir")]
    data_dir: Option<PathBuf>,
    /// table (the token alone) or json [default: table]
    #[argh(option, short = 'f', default = "Format::Table")]
    format: Format,
    /// longest wait for the answer [default: 30s]
    #[argh(option, short = 't', default = "TIMEOUT_DEFAULT", from_str_fn(positive_duration))]
    timeout: Duration,
}

/// Take a node out of the cluster for good.
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(
    subcommand,
    name = "remove",
    example = "debros cluster remove 12D3KooW...\ndebros cluster remove 12D3KooW... --yes"
)]
struct Remove {
    /// node id, as `debros cluster nodes` lists it
    #[argh(positional, arg_name = "id")]
    node: NodeId,
    /// go on without a question
    #[argh(switch, short = 'y')]
    yes: bool,
    /// data directory of the daemon to ask
    #[argh(option, arg_name = "dir")]
    data_dir: Option<PathBuf>,
    /// longest wait for the answer [default: 30s]
    #[argh(option, short = 't', default = "TIMEOUT_DEFAULT", from_str_fn(positive_duration))]
    timeout: Duration,
}

/// Hand leadership over.
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(
    subcommand,
    name = "transfer-leader",
    example = "debros cluster transfer-leader\ndebros cluster transfer-leader 12D3KooW..."
)]
struct TransferLeader {
    /// node id of the next leader [default: the most up-to-date voter]
    #[argh(positional, arg_name = "id")]
    to: Option<NodeId>,
    /// data directory of the daemon to ask
    #[argh(option, arg_name = "dir")]
    data_dir: Option<PathBuf>,
    /// longest wait for the answer [default: 30s]
    #[argh(option, short = 't', default = "TIMEOUT_DEFAULT", from_str_fn(positive_duration))]
    timeout: Duration,
}

/// Compare the content of every replica; exit code 8 when they differ, 5 when some did not answer.
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(
    subcommand,
    name = "verify",
    example = "debros cluster verify\ndebros cluster verify --timeout 10m --format json"
)]
struct Verify {
    /// data directory of the daemon to ask
    #[argh(option, arg_name = "dir")]
    data_dir: Option<PathBuf>,
    /// table or json [default: table]
    #[argh(option, short = 'f', default = "Format::Table")]
    format: Format,
    /// longest wait for the answer [default: 30s]
    #[argh(option, short = 't', default = "TIMEOUT_DEFAULT", from_str_fn(positive_duration))]
    timeout: Duration,
}

impl Cluster {
    pub(super) fn run(self, session: &mut Session<'_>) -> Result<Exit, CliError> {
        match self.verb {
            Verb::Status(command) => command.run(session),
            Verb::Nodes(command) => command.run(session),
            Verb::Invite(command) => command.run(session),
            Verb::Remove(command) => command.run(session),
            Verb::TransferLeader(command) => command.run(session),
            Verb::Verify(command) => command.run(session),
        }
    }
}

impl StatusCommand {
    fn run(self, session: &mut Session<'_>) -> Result<Exit, CliError> {
        let status: Status = admin::ask(session, self.data_dir, self.timeout, &Request::Status)?;
        match self.format {
            Format::Json => output::json(session.out, &status)?,
            Format::Table => output::fields(session.out, &status_fields(&status))?,
        }
        Ok(Exit::Ok)
    }
}

fn status_fields(status: &Status) -> Vec<(&'static str, String)> {
    let mut fields = vec![
        ("node", status.node.to_string()),
        ("role", status.role.to_string()),
        ("cluster", or_dash(&status.cluster)),
        ("ready", if status.ready { "yes" } else { "no" }.to_owned()),
        ("version", status.version.clone()),
        ("uptime", format_duration(Duration::from_secs(status.uptime_seconds))),
        ("peers at", or_dash(&status.addresses.join(" "))),
        ("sql at", or_dash(&status.sql_address)),
        ("gateway at", or_dash(&status.gateway_address)),
    ];
    if let Some(raft) = &status.raft {
        let leader = raft.leader.map_or_else(|| "none known".to_owned(), |leader| leader.to_string());
        let contact = raft.last_contact_ms.map_or_else(|| "never".to_owned(), |ms| format!("{ms}ms ago"));
        fields.extend([
            ("state", raft.state.clone()),
            ("leader", leader),
            ("leader heard", contact),
            ("term", raft.term.to_string()),
            ("committed", raft.commit_index.to_string()),
            ("applied", raft.applied_index.to_string()),
            ("last in log", raft.last_log_index.to_string()),
            ("snapshot", raft.snapshot_index.to_string()),
            ("log size", format!("{} bytes", raft.log_bytes)),
            ("members", format!("{} voting, {} following", raft.voters, raft.learners)),
        ]);
    }
    fields
}

impl NodesCommand {
    fn run(self, session: &mut Session<'_>) -> Result<Exit, CliError> {
        let mut answer: Nodes = admin::ask(session, self.data_dir, self.timeout, &Request::Nodes)?;
        answer.nodes.sort_by_key(|report| report.node);
        match self.format {
            Format::Json => output::json(session.out, &answer)?,
            Format::Table => {
                let rows: Vec<Vec<String>> = answer.nodes.iter().map(node_row).collect();
                output::table(session.out, &["NODE", "ROLE", "ANSWERS", "ADDRESSES", "SQL", "VERSION"], &rows)?;
            }
        }
        Ok(Exit::Ok)
    }
}

fn node_row(report: &NodeReport) -> Vec<String> {
    let answers = match (report.reachable, report.round_trip_us, &report.error) {
        (true, Some(us), _) => format!("in {}", format_duration(Duration::from_micros(us))),
        (true, None, _) => "yes".to_owned(),
        (false, _, Some(error)) => format!("no: {error}"),
        (false, _, None) => "no".to_owned(),
    };
    vec![
        report.node.to_string(),
        if report.leader { "leader".to_owned() } else { report.suffrage.clone() },
        answers,
        or_dash(&report.addresses.join(" ")),
        or_dash(&report.sql_address),
        or_dash(&report.version),
    ]
}

impl Invite {
    fn run(self, session: &mut Session<'_>) -> Result<Exit, CliError> {
        let request = Request::Invite { role: self.role, ttl_seconds: admin::seconds(self.ttl) };
        let invitation: Invitation = admin::ask(session, self.data_dir, self.timeout, &request)?;
        match self.format {
            Format::Json => output::json(session.out, &invitation)?,
            Format::Table => {
                writeln!(session.out, "{}", invitation.token)?;
                let ttl = format_duration(self.ttl);
                writeln!(session.err, "good once, within {ttl}, for: debros {} --join TOKEN", self.role)?;
            }
        }
        Ok(Exit::Ok)
    }
}

impl Remove {
    fn run(self, session: &mut Session<'_>) -> Result<Exit, CliError> {
        let node = self.node;
        let loss =
            format!("{node} leaves the cluster for good: it needs an empty directory and a new token to join again");
        session.confirm(&loss, &node.to_string(), Assent::from(self.yes))?;
        let Done {} = admin::ask(session, self.data_dir, self.timeout, &Request::Remove { node })?;
        writeln!(session.err, "removed {node}")?;
        Ok(Exit::Ok)
    }
}

impl TransferLeader {
    fn run(self, session: &mut Session<'_>) -> Result<Exit, CliError> {
        let request = Request::TransferLeader { to: self.to };
        let Done {} = admin::ask(session, self.data_dir, self.timeout, &request)?;
        writeln!(session.err, "leadership handed over")?;
        Ok(Exit::Ok)
    }
}

impl Verify {
    fn run(self, session: &mut Session<'_>) -> Result<Exit, CliError> {
        let answer: Verification = admin::ask(session, self.data_dir, self.timeout, &Request::Verify)?;
        let differing = answer.differing();
        match self.format {
            Format::Json => output::json(session.out, &answer)?,
            Format::Table => {
                let row = |replica: &crate::types::admin::ReplicaHash| {
                    let verdict = if differing.contains(replica.database.as_str()) { "DIFFERS" } else { "same" };
                    vec![replica.database.clone(), replica.node.to_string(), replica.hash.clone(), verdict.to_owned()]
                };
                let mut rows: Vec<Vec<String>> = answer.hashes.iter().map(row).collect();
                rows.sort();
                output::table(session.out, &["DATABASE", "NODE", "HASH", "VERDICT"], &rows)?;
            }
        }
        for (node, reason) in &answer.unverified {
            writeln!(session.err, "warning: {node} is not verified: {reason}")?;
        }
        if !differing.is_empty() {
            let names: Vec<&str> = differing.iter().copied().collect();
            let message = format!("replicas differ at index {} in: {}", answer.index, names.join(", "));
            return Err(CliError::new(Exit::ProblemsFound, message)
                .hint("keep every data directory as it is, then remove the node that disagrees and let it join anew"));
        }
        Ok(if answer.unverified.is_empty() { Exit::Ok } else { Exit::Unavailable })
    }
}
