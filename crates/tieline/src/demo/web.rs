//! A web server in one office and a browser in the other, as far as it takes to fetch a page.

use std::{
    io,
    net::{SocketAddr, TcpListener, TcpStream},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use axum::{Router, response::Html, routing::get};
use http_body_util::{BodyExt, Empty};
use hyper::{Request, body::Bytes, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use tieline_io::namespace::NamespaceThread;
use tokio::{runtime::Builder, sync::oneshot, time::timeout};

/// How long a page may take.
const PAGE_WAIT_MAX: Duration = Duration::from_secs(10);
/// The page.
const PAGE: &str = "<!doctype html><title>Office B</title><p>The price list of office B.</p>\n";

/// A running server; dropping it ends it.
pub(crate) struct Server {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Starts a server on `address` in `place`.
    pub(crate) fn start(place: &NamespaceThread, address: SocketAddr) -> io::Result<Self> {
        // A socket stays in the namespace it was opened in, whatever thread uses it.
        let listener = place.run(move || TcpListener::bind(address))?;
        listener.set_nonblocking(true)?;
        let (stop, stopped) = oneshot::channel::<()>();
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let thread = std::thread::Builder::new().name("web".into()).spawn(move || {
            runtime.block_on(async {
                let listener = match tokio::net::TcpListener::from_std(listener) {
                    Ok(listener) => listener,
                    Err(error) => return tracing::error!(%error, "the web server has no socket"),
                };
                let router = Router::new().route("/", get(async || Html(PAGE)));
                let served = axum::serve(listener, router).with_graceful_shutdown(async {
                    // Either it is said, or whoever would say it is gone.
                    let _ = stopped.await;
                });
                if let Err(error) = served.await {
                    tracing::error!(%error, "the web server has ended");
                }
            });
        })?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A server that panicked has said so.
            let _ = thread.join();
        }
    }
}

/// Fetches the page of `address` from within `place`; returns its octets and how long it took, the connection included.
pub(crate) fn fetch(place: &NamespaceThread, address: SocketAddr) -> io::Result<(usize, Duration)> {
    let started = Instant::now();
    let stream = place.run(move || TcpStream::connect_timeout(&address, PAGE_WAIT_MAX))?;
    stream.set_nonblocking(true)?;
    let page = Builder::new_current_thread().enable_all().build()?.block_on(async {
        let stream = tokio::net::TcpStream::from_std(stream)?;
        timeout(PAGE_WAIT_MAX, request(stream, address)).await.map_err(|_| io::ErrorKind::TimedOut)?
    })?;
    if page != PAGE.as_bytes() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the page is not the one that is served"));
    }
    Ok((page.len(), started.elapsed()))
}

async fn request(stream: tokio::net::TcpStream, address: SocketAddr) -> io::Result<Bytes> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    tokio::spawn(connection);
    let request = Request::get("/").header(header::HOST, address.to_string()).body(Empty::<Bytes>::new());
    let response = sender.send_request(request.map_err(io::Error::other)?).await.map_err(io::Error::other)?;
    Ok(response.into_body().collect().await.map_err(io::Error::other)?.to_bytes())
}
