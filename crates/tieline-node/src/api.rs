//! The local API: HTTP and JSON on a unix socket that only the owner may use.
//!
//! | request | answer |
//! |---|---|
//! | `GET /v1/status` | [`crate::status::Status`] |
//! | `POST /v1/ping?size=N` | [`crate::status::Pong`], after the probe's answer or three seconds; the packet has N octets, 400 if that is beyond the MTU |
//! | `POST /v1/test?load=L&seconds=N` | [`crate::line_test::TestPhase`], after so many seconds and a little; L is `none`, `out` or `in`; N 60 at most; 409 while another is going on or if the line may not be filled |
//! | `POST /v1/down` | nothing; the end goes down |
//! | `POST /v1/files?folder=F` | 101: the connection is then a transfer to the far end's inbox, or folder `F` in it |
//! | `GET /v1/calls` | [`crate::calls::CallsStatus`] |
//! | `GET /v1/flows` | [`crate::flows::FlowsStatus`] |
//! | `GET /v1/transfers` | [`crate::files::outgoing::OutgoingStatus`] of each outbox |
//! | `GET /v1/inboxes` | [`crate::files::incoming::IncomingStatus`] of each inbox |
//! | `POST /v1/transfers/pause?outbox=O`, `POST /v1/transfers/resume?outbox=O` | nothing; 404 if there is no outbox of that name |
//! | `POST /v1/transfers/cancel?outbox=O` | [`crate::files::outgoing::cancel::Cancelled`]; the body is a [`CancelRequest`]; 404 as above |
//! | `GET /v1/accounts` | [`accounts::AccountsStart`] |
//! | `GET /v1/receipts?after=N`, `GET /v1/log?after=N` | the groups of receipts, the links of the log after number N: a page of them, none after the last |
//! | `POST /v1/accounts` | nothing; an [`accounts::OtherAccounts`] is kept, 400 if it is not what the far end signed for this end |
//! | `POST /v1/pipe` | 101 once the far end has asked too: the connection is then the pipe |
//!
//! An error is a JSON object with one field, `error`: a sentence for people.

pub mod accounts;
pub mod client;
pub mod server;

use serde::{Deserialize, Serialize};

/// What the connection is upgraded to where an answer is 101.
const UPGRADE: &str = "tieline-stream";

/// Which files are not to be sent any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CancelRequest {
    /// Paths of files and folders below the outbox, in octets.
    pub paths: Vec<Vec<u8>>,
}

/// Why a request was not done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiError {
    /// A sentence for people.
    pub error: String,
}
