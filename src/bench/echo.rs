//! A server without a database: the serving loop of the real listeners, a body that is read to its end, an answer of a
//! given size. What it reaches is what HTTP and the machine leave for the rest to use.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bytes::Bytes;
use tokio::net::TcpListener;

use super::error::BenchError;
use super::target::Target;
use crate::http::{self, HttpLimits, json_reply, read_body};
use crate::tasks::Tasks;
use crate::types::limits::BODY_BYTES_MAX;

/// As for the real routes.
const BODY_TIME_MAX: Duration = Duration::from_secs(30);

/// Running requests have nothing to wait for.
const STOP_MAX: Duration = Duration::from_secs(5);

/// Serves on a port that the system chooses, tells its address on `out`, and ends when `until` does.
///
/// # Errors
/// When it cannot be served or told.
pub fn serve_echo(answer_bytes: usize, out: &mut dyn Write, until: &mut dyn BufRead) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let tasks = Tasks::new();
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
    writeln!(out, "{}", listener.local_addr()?)?;
    out.flush()?;
    let body = Bytes::from(vec![b' '; answer_bytes]);
    let serving = tasks.clone();
    runtime.block_on(async {
        tasks.spawn(async move {
            http::serve(listener, HttpLimits::default(), &serving, move |_, request| {
                let body = body.clone();
                async move {
                    let read = read_body(request.into_body(), BODY_BYTES_MAX, BODY_TIME_MAX).await;
                    json_reply(if read.is_ok() { body } else { Bytes::new() })
                }
            })
            .await;
        });
    });
    std::io::copy(until, &mut std::io::sink())?;
    runtime.block_on(tasks.stop(STOP_MAX));
    Ok(())
}

/// The echo as a process of its own, as the node is one.
pub(super) struct EchoProcess {
    child: Child,
    address: String,
}

impl EchoProcess {
    pub(super) fn start(program: &Path, answer_bytes: u64) -> Result<EchoProcess, BenchError> {
        let failed = |reason: String| BenchError::Process { command: "debros bench echo".to_owned(), reason };
        // It ends with its standard input, so it does not outlive this process whatever happens.
        let child = Command::new(program)
            .args(["bench", "echo", "--answer-bytes", &answer_bytes.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let child = child.map_err(|error| failed(error.to_string()))?;
        let mut echo = EchoProcess { child, address: String::new() };
        let out = echo.child.stdout.take().ok_or_else(|| failed("no output".to_owned()))?;
        BufReader::new(out).read_line(&mut echo.address).map_err(|error| failed(error.to_string()))?;
        echo.address.truncate(echo.address.trim_end().len());
        if echo.address.is_empty() { Err(failed("it ended at once".to_owned())) } else { Ok(echo) }
    }

    /// The echo as a stand-in for `real`: the same request, credentials included.
    pub(super) fn target(&self, real: &Target) -> Target {
        Target { address: self.address.clone(), ..real.clone() }
    }
}

impl Drop for EchoProcess {
    fn drop(&mut self) {
        let ended = self.child.kill().and_then(|()| self.child.wait());
        if let Err(error) = ended {
            tracing::warn!(%error, "the echo was not ended");
        }
    }
}
