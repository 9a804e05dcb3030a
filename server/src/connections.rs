//! [`Connections`]: those who are connected, and how long they may keep the server waiting.

use std::convert::Infallible;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Sleep, sleep, timeout};

/// Most connections at once, where the system allows for so many.
const MOST: usize = 4096;
/// Files that are kept free for all else.
const OTHER_FILES: usize = 64;
/// How long is waited for a client to take in the last answer of a connection.
const LAST_TIME: Duration = Duration::from_secs(1);
/// Most bytes of a head, and of what is read or written ahead for a connection.
const BUFFER: usize = 64 << 10;
/// How long is waited where the system has no more connections.
const BREATH: Duration = Duration::from_millis(50);

/// Answers requests over HTTP/1.1, one connection beside the other.
pub(crate) struct Connections {
    http: http1::Builder,
    router: Router,
    room: Arc<Semaphore>,
    /// How long a client may send no request, or take nothing of what is sent to it.
    time: Duration,
    stopping: watch::Receiver<bool>,
}

impl Connections {
    /// That are answered by `router`, until `stopping` is true. A client may keep it waiting for so
    /// long.
    pub(crate) fn new(
        router: Router,
        time: Duration,
        stopping: watch::Receiver<bool>,
    ) -> Connections {
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new())
            .header_read_timeout(time)
            .max_buf_size(BUFFER);
        let files = most_files().saturating_sub(OTHER_FILES);
        Connections {
            http,
            router,
            room: Arc::new(Semaphore::new(MOST.min(files).max(1))),
            time,
            stopping,
        }
    }

    /// Takes connections until it is to stop, and returns when the last of them is answered.
    pub(crate) async fn serve(self, listener: TcpListener) {
        let Connections {
            http,
            router,
            room,
            time,
            stopping,
        } = self;
        // What its other end waits for is that nobody has this one any more.
        let (open, mut closed) = tokio::sync::mpsc::channel::<Infallible>(1);
        loop {
            let next = async {
                let room = Arc::clone(&room).acquire_owned().await;
                (listener.accept().await, room)
            };
            let (accepted, room) = tokio::select! {
                biased;
                () = raised(stopping.clone()) => break,
                next = next => next,
            };
            let Ok((stream, _)) = accepted else {
                sleep(BREATH).await;
                continue;
            };
            let reader = Reader::new(stream, time);
            let connection = connection(http.clone(), router.clone(), reader, stopping.clone());
            let open = open.clone();
            tokio::spawn(async move {
                connection.await;
                drop((room, open));
            });
        }
        // Whoever comes now finds nobody.
        drop((listener, open));
        closed.recv().await;
    }
}

/// Returns when it is true.
pub(crate) async fn raised(mut stopping: watch::Receiver<bool>) {
    // The other end is never dropped before it is raised.
    let _ = stopping.wait_for(|raised| *raised).await;
}

/// Answers what comes over one connection.
async fn connection(
    http: http1::Builder,
    router: Router,
    mut reader: Reader,
    stopping: watch::Receiver<bool>,
) {
    let service = service_of(router);
    {
        let answering = http.serve_connection(TokioIo::new(&mut reader), service);
        let mut answering = pin!(answering);
        let stop = raised(stopping.clone());
        tokio::select! {
            // Clients that break off, or send no HTTP, are none of this server's errors.
            _ = answering.as_mut() => {}
            () = stop => {
                answering.as_mut().graceful_shutdown();
                let _ = answering.await;
            }
        }
    }
    // A connection that is closed while there is something to be read of it is cut, and the answer
    // that is on its way may be lost.
    tokio::select! {
        () = raised(stopping) => {}
        _ = timeout(LAST_TIME, reader.discard()) => {}
    }
}

fn service_of(
    router: Router,
) -> impl hyper::service::Service<
    hyper::Request<Incoming>,
    Response = axum::response::Response,
    Error = Infallible,
    Future: Send,
> {
    let service = TowerToHyperService::new(router);
    hyper::service::service_fn(move |request: hyper::Request<Incoming>| {
        let request: Request = request.map(Body::new);
        hyper::service::Service::call(&service, request)
    })
}

/// A client that reads what is sent to it, or is given up.
struct Reader {
    stream: TcpStream,
    /// How long it may take nothing.
    time: Duration,
    /// Until when it has to take something.
    unread: Option<Pin<Box<Sleep>>>,
}

impl Reader {
    fn new(stream: TcpStream, time: Duration) -> Reader {
        // Each piece of an answer is a packet. A connection that is broken already fails later.
        let _ = stream.set_nodelay(true);
        Reader {
            stream,
            time,
            unread: None,
        }
    }

    /// Reads what the client still sends, for nothing.
    async fn discard(&mut self) {
        let mut bytes = [0; 4096];
        loop {
            let read = std::future::poll_fn(|cx| {
                let mut buffer = ReadBuf::new(&mut bytes);
                ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer))?;
                Poll::Ready(io::Result::Ok(buffer.filled().len()))
            });
            if !matches!(read.await, Ok(1..)) {
                return;
            }
        }
    }

    /// What came of sending, if something did before the time was over.
    fn in_time<T>(
        &mut self,
        cx: &mut Context<'_>,
        sent: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if sent.is_ready() {
            self.unread = None;
            return sent;
        }
        let until = || Box::pin(sleep(self.time));
        ready!(self.unread.get_or_insert_with(until).as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Reader {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Reader {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let sent = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.in_time(cx, sent)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let sent = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.in_time(cx, sent)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let sent = Pin::new(&mut self.stream).poll_flush(cx);
        self.in_time(cx, sent)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// How many files, and so connections, this process may have: as many as it may allow itself.
#[cfg(unix)]
fn most_files() -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let wanted = (MOST + OTHER_FILES) as u64;
    let wanted = limit.maximum.map_or(wanted, |maximum| wanted.min(maximum));
    let enough = limit.current.is_none_or(|current| current >= wanted);
    let raised = Rlimit {
        current: Some(wanted),
        ..limit
    };
    if enough || setrlimit(Resource::Nofile, raised).is_ok() {
        return wanted as usize;
    }
    limit.current.map_or(usize::MAX, |current| current as usize)
}

#[cfg(not(unix))]
fn most_files() -> usize {
    usize::MAX
}
