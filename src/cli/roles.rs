//! `debros bootstrap`, `debros node`, `debros gateway`: the three roles of a daemon.

use std::path::PathBuf;

use argh::{ArgsInfo, FromArgs};

use super::{CliError, Session};
use crate::config::{ConfigError, Flag, problems_of_paths};
use crate::types::{Exit, Role};
use crate::{daemon, telemetry};

/// The variable that holds the join token where a command line would show it to everybody on the machine.
const JOIN_VARIABLE: &str = "DEBROS_JOIN";

/// Declares a role's command with the flags that all roles share; argh cannot include one struct in another.
macro_rules! role_command {
    ($(#[$attribute:meta])* $name:ident { $($own:tt)* }) => {
        #[derive(FromArgs, ArgsInfo, Debug)]
        $(#[$attribute])*
        pub(super) struct $name {
            $($own)*
            /// directory with everything that the daemon keeps
            #[argh(option, arg_name = "dir")]
            data_dir: Option<String>,
            /// configuration file (TOML, or YAML by its extension)
            #[argh(option, arg_name = "file")]
            config: Option<PathBuf>,
            /// multiaddr where peers connect [default: /ip4/0.0.0.0/tcp/4001]; repeatable
            #[argh(option, arg_name = "multiaddr")]
            listen: Vec<String>,
            /// multiaddr that peers are told to dial; repeatable
            #[argh(option, arg_name = "multiaddr")]
            advertise: Vec<String>,
            /// SQL listener [default: 127.0.0.1:5001]
            #[argh(option, arg_name = "host:port")]
            sql_addr: Option<String>,
            /// gateway listener [default: 127.0.0.1:6001]
            #[argh(option, arg_name = "host:port")]
            gateway_addr: Option<String>,
            /// debug, info, warn or error [default: info]
            #[argh(option, arg_name = "level")]
            log_level: Option<String>,
            /// console or json [default: console]
            #[argh(option, arg_name = "format")]
            log_format: Option<String>,
        }

        impl $name {
            fn common(self) -> Common {
                let one = |name, key, value: Option<String>| Flag { name, key, values: value.into_iter().collect() };
                let flags = [
                    one("--data-dir", "node.data_dir", self.data_dir),
                    Flag { name: "--listen", key: "node.listen_addresses", values: self.listen },
                    Flag { name: "--advertise", key: "node.advertise_addresses", values: self.advertise },
                    one("--sql-addr", "database.sql_addr", self.sql_addr),
                    one("--gateway-addr", "gateway.listen_addr", self.gateway_addr),
                    one("--log-level", "logging.level", self.log_level),
                    one("--log-format", "logging.format", self.log_format),
                ];
                let given = flags.into_iter().filter(|flag| !flag.values.is_empty());
                Common { config: self.config, flags: given.collect() }
            }
        }
    };
}

role_command! {
    /// Start a new cluster in an empty data directory; later, run its first node again.
    #[argh(
        subcommand,
        name = "bootstrap",
        example = "debros bootstrap\ndebros bootstrap --data-dir ./n1 --listen /ip4/0.0.0.0/tcp/4001"
    )]
    Bootstrap {}
}

role_command! {
    /// Join a cluster with a token and store its data; later, run the node again without a token.
    #[argh(
        subcommand,
        name = "node",
        example = "debros node --join TOKEN\ndebros node --data-dir ./n2 --listen /ip4/0.0.0.0/tcp/0",
        note = "The token may also be in the variable DEBROS_JOIN."
    )]
    Node {
        /// token from `debros cluster invite`
        #[argh(option, arg_name = "token")]
        join: Option<String>,
    }
}

role_command! {
    /// Serve the HTTP and WebSocket API of a cluster; stores no data.
    #[argh(
        subcommand,
        name = "gateway",
        example = "debros gateway --join TOKEN --gateway-addr 0.0.0.0:6001\ndebros gateway",
        note = "The token comes from `debros cluster invite --role gateway`, or from the variable DEBROS_JOIN."
    )]
    Gateway {
        /// token from `debros cluster invite --role gateway`
        #[argh(option, arg_name = "token")]
        join: Option<String>,
    }
}

/// What the three roles share.
struct Common {
    config: Option<PathBuf>,
    flags: Vec<Flag>,
}

impl Bootstrap {
    pub(super) fn run(self, session: &mut Session<'_>) -> Result<Exit, CliError> {
        start(Role::Bootstrap, self.common(), None, session)
    }
}

impl Node {
    pub(super) fn run(mut self, session: &mut Session<'_>) -> Result<Exit, CliError> {
        let join = self.join.take();
        start(Role::Node, self.common(), join_token(join, session), session)
    }
}

impl Gateway {
    pub(super) fn run(mut self, session: &mut Session<'_>) -> Result<Exit, CliError> {
        let join = self.join.take();
        start(Role::Gateway, self.common(), join_token(join, session), session)
    }
}

fn join_token(flag: Option<String>, session: &Session<'_>) -> Option<String> {
    flag.or_else(|| session.env.get(JOIN_VARIABLE).cloned()).filter(|token| !token.is_empty())
}

/// The one place where a daemon starts.
fn start(role: Role, common: Common, join: Option<String>, session: &mut Session<'_>) -> Result<Exit, CliError> {
    let loaded = session.load(common.config, common.flags)?;
    let problems = problems_of_paths(&loaded.config);
    if !problems.is_empty() {
        return Err(ConfigError::Invalid { problems, warnings: Vec::new() }.into());
    }
    telemetry::init(loaded.config.logging.telemetry(session.colour()))?;
    telemetry::abort_on_panic();
    Ok(daemon::run(role, loaded, join))
}
