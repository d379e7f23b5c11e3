//! Connections that are used for something else after a request: an answer `101 Switching Protocols` says what.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;

/// The connection's bytes, both ways.
pub(crate) type Connection = TokioIo<Upgraded>;

type Use = Box<dyn FnOnce(Connection) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send>;

/// An extension of an answer: who uses the connection next. The connection counts, and is watched for a reader that
/// stalls, until the returned future ends; it should end soon after the tasks' owner stops.
#[derive(Clone)]
pub(crate) struct Takeover(Arc<Mutex<Option<Use>>>);

impl fmt::Debug for Takeover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Takeover")
    }
}

impl Takeover {
    pub(crate) fn new<F>(user: impl FnOnce(Connection) -> F + Send + 'static) -> Takeover
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Takeover(Arc::new(Mutex::new(Some(Box::new(|connection| Box::pin(user(connection)))))))
    }

    /// Waits until the answer is out, and hands over.
    pub(super) async fn run(self, upgrade: OnUpgrade) {
        let user = self.0.lock().expect("nobody panics while holding it").take();
        match (upgrade.await, user) {
            (Ok(upgraded), Some(user)) => user(TokioIo::new(upgraded)).await,
            (Err(error), _) => tracing::debug!(%error, "connection ended before it was taken over"),
            (Ok(_), None) => {}
        }
    }
}
