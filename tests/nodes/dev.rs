//! `debros dev`: a cluster in one process.

use std::path::Path;

use crate::support::http::Client;
use crate::support::node::root;
use crate::support::process::{Process, binary, command};
use crate::support::soon;

/// Starts it; its SQL listeners and data directories.
fn start(log: &Path) -> (Process, Vec<String>, Vec<String>) {
    let mut dev = command(binary());
    dev.args(["dev", "--log-level", "warn"]).current_dir(log.parent().expect("a directory"));
    let mut process = Process::spawn(dev, log);
    let text = soon("it says that it is ready", || {
        assert!(process.ended().is_none(), "it ended instead of serving");
        std::fs::read_to_string(log).ok().filter(|text| text.contains("ready; stop with Ctrl-C"))
    });
    let words = |after: &str| -> Vec<String> {
        let lines = text.lines().filter_map(|line| line.split_once(after));
        lines.filter_map(|(_, rest)| rest.split_whitespace().next()).map(str::to_owned).collect()
    };
    let (sql, data) = (words("sql http://"), words("data "));
    (process, sql, data)
}

#[test]
fn dev_runs_three_nodes_until_ctrl_c_and_leaves_nothing_behind() {
    let root = root();
    for signal in ["INT", "TERM"] {
        let (mut process, sql, data) = start(&root.path().join(format!("dev-{signal}.log")));
        assert_eq!((sql.len(), data.len()), (3, 3), "three nodes are printed");
        let index = Client::new(&sql[0]).execute("CREATE TABLE t (x)");
        for address in &sql {
            let rows = Client::new(address).query("SELECT count(*) FROM t", &format!("level=none&min_index={index}"));
            rows.unwrap_or_else(|error| panic!("{address}: {error}"));
        }
        process.signal(signal);
        assert_eq!(process.wait().code(), Some(0), "SIG{signal}");
        for directory in &data {
            assert!(!Path::new(directory).exists(), "{directory} is left over");
        }
    }
}
