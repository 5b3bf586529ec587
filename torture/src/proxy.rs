//! A way to the server that can be cut, held up and slowed down: one for each worker.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;

/// How the way is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// As it should be.
    Open,
    /// What is sent waits.
    Stalled,
    /// What is sent takes so much longer.
    Slow(Duration),
    /// New connections are closed at once.
    Closed,
}

/// A proxy to one address. It ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Proxy {
    port: u16,
    way: watch::Sender<Way>,
    /// How often all connections were cut.
    cuts: watch::Sender<u64>,
    accepting: JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut();
    }
}

impl Proxy {
    /// A proxy on a port of its own.
    pub(crate) async fn start(server: SocketAddr) -> io::Result<Proxy> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let (way, ways) = watch::channel(Way::Open);
        let (cuts, cut) = watch::channel(0);
        let accepting = tokio::spawn(async move {
            // A connection that could not be accepted is one that was cut.
            loop {
                let Ok((client, _)) = listener.accept().await else { continue };
                if *ways.borrow() != Way::Closed {
                    tokio::spawn(carry(client, server, ways.clone(), cut.clone()));
                }
            }
        });
        Ok(Proxy { port, way, cuts, accepting })
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// From now on the way is so. One that is closed has no connections left.
    pub(crate) fn set(&self, way: Way) {
        self.way.send_replace(way);
        if way == Way::Closed {
            self.cut();
        }
    }

    /// Cuts all connections.
    pub(crate) fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }
}

/// Carries one connection, until either side ends it or it is cut.
async fn carry(
    client: TcpStream,
    server: SocketAddr,
    ways: watch::Receiver<Way>,
    mut cut: watch::Receiver<u64>,
) {
    cut.borrow_and_update();
    let Ok(server) = TcpStream::connect(server).await else { return };
    // Without it, small packets wait for each other: that would be slow, and not wrong.
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
    tokio::select! {
        () = copy(from_client, to_server, ways.clone()) => {}
        () = copy(from_server, to_client, ways) => {}
        // If the proxy is gone, so is the way.
        _ = cut.changed() => {}
    }
}

async fn copy(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut ways: watch::Receiver<Way>,
) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        let slow = match *ways.borrow() {
            Way::Slow(by) => by,
            Way::Open | Way::Stalled | Way::Closed => Duration::ZERO,
        };
        sleep(slow).await;
        let passable = ways.wait_for(|way| *way != Way::Stalled).await.is_ok();
        if !passable || to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::{Instant, timeout};

    const SOON: Duration = Duration::from_secs(20);

    /// A server that says what it hears.
    async fn echo() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = stream.split();
                    let _ = tokio::io::copy(&mut from, &mut to).await;
                });
            }
        });
        address
    }

    async fn ask(stream: &mut TcpStream) -> io::Result<u8> {
        stream.write_u8(7).await?;
        timeout(SOON, stream.read_u8()).await.unwrap()
    }

    #[tokio::test]
    async fn a_way_carries_stalls_slows_cuts_and_closes() {
        let proxy = Proxy::start(echo().await).await.unwrap();
        let connect = || TcpStream::connect(("127.0.0.1", proxy.port()));
        let mut stream = connect().await.unwrap();
        assert_eq!(ask(&mut stream).await.unwrap(), 7);

        proxy.set(Way::Stalled);
        stream.write_u8(8).await.unwrap();
        let heard = timeout(Duration::from_millis(100), stream.read_u8()).await;
        assert!(heard.is_err(), "a stalled way says nothing");
        proxy.set(Way::Open);
        assert_eq!(timeout(SOON, stream.read_u8()).await.unwrap().unwrap(), 8, "it was only held up");

        let slow = Duration::from_millis(50);
        proxy.set(Way::Slow(slow));
        let began = Instant::now();
        assert_eq!(ask(&mut stream).await.unwrap(), 7);
        assert!(began.elapsed() >= slow * 2, "there and back");

        proxy.set(Way::Open);
        proxy.cut();
        assert!(ask(&mut stream).await.is_err(), "a cut connection is gone");
        let mut stream = connect().await.unwrap();
        assert_eq!(ask(&mut stream).await.unwrap(), 7, "a new one is carried");

        proxy.set(Way::Closed);
        assert!(ask(&mut stream).await.is_err(), "closing cuts");
        let mut stream = connect().await.unwrap();
        assert!(ask(&mut stream).await.is_err(), "a new one is closed");
    }
}
