//! The body of an answer that knows until when its request is being served: until its last byte is on its way, or the
//! client is gone.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

use super::ReplyBody;
use super::guard::Serving;

/// A body that ends the service of its request when it is dropped; `None`: the connection is taken over.
pub(super) struct Served {
    body: ReplyBody,
    _serving: Option<Serving>,
}

impl Served {
    pub(super) fn new(body: ReplyBody, serving: Option<Serving>) -> Served {
        Served { body, _serving: serving }
    }
}

impl Body for Served {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
