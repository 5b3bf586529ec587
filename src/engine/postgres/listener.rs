//! The connection that listens.

use std::future::poll_fn;
use std::sync::{Arc, OnceLock};

use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep, timeout};
use tokio_postgres::{AsyncMessage, Client};

use super::dial::{Backoff, Connection, Dial, told};
use super::payload;
use crate::engine::{Ear, Hint};

/// Listens until `stopped`. After each time at which it could not, the ear hears of a gap.
pub(super) async fn listen(
    dial: Arc<Dial>,
    ear: Arc<OnceLock<Arc<dyn Ear>>>,
    ready: oneshot::Sender<()>,
    mut stopped: watch::Receiver<()>,
) {
    let mut ready = Some(ready);
    let mut backoff = Backoff::FIRST;
    let listening = async {
        loop {
            let until = Instant::now() + dial.call_max();
            match dial.in_time(until, "listen", dial.connect()).await {
                Ok((client, connection)) => {
                    let heard = || {
                        backoff = Backoff::FIRST;
                        match ready.take() {
                            Some(ready) => drop(ready.send(())),
                            None => tell(&ear, Hint::Gap),
                        }
                    };
                    tokio::select! {
                        () = hear(connection, &ear) => {}
                        () = keep_listening(&dial, &client, heard) => {}
                    }
                    tracing::warn!(server = dial.server(), "not listening any more; will connect again");
                }
                Err(fault) => tracing::warn!(%fault, "cannot listen; will try again"),
            }
            backoff.wait().await;
        }
    };
    tokio::select! {
        () = listening => {}
        _ = stopped.changed() => {}
    }
}

fn tell(ear: &OnceLock<Arc<dyn Ear>>, hint: Hint<'_>) {
    if let Some(ear) = ear.get() {
        ear.hear(hint);
    }
}

/// Passes on what is heard, until the connection ends. A connection repeats its error for ever: the first one is its end.
async fn hear(mut connection: Connection, ear: &OnceLock<Arc<dyn Ear>>) {
    while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
        if let AsyncMessage::Notification(notification) = message {
            tell(ear, payload::read(notification.payload()));
        }
    }
}

/// Says that one listens now, and makes sure again and again that somebody is at the other end.
async fn keep_listening(dial: &Dial, client: &Client, heard: impl FnOnce()) {
    let call = |sql| timeout(dial.call_max(), client.batch_execute(sql));
    let listen = std::format!("LISTEN {}", dial.schema());
    match timeout(dial.call_max(), client.batch_execute(&listen)).await {
        Ok(Ok(())) => heard(),
        Ok(Err(fault)) => return tracing::warn!(fault = told(&fault), "cannot listen"),
        Err(_) => return,
    }
    while let Ok(Ok(())) = call("").await {
        sleep(dial.call_max()).await;
    }
}
