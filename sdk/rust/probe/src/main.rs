// SPDX-License-Identifier: Apache-2.0
//! Tries what the edits promise. Built from the same source natively and as a guest, it must print the same lines:
//! one "ok CLAIM" each, then "probe passed". With the arguments `serve PORT` it serves that port until SIGTERM instead,
//! with `call HOST:PORT` it talks to such a server.

use std::io;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::signal::unix::{signal, SignalKind};

async fn blocking_work_runs() {
    assert_eq!(tokio::task::spawn_blocking(|| 6 * 7).await.unwrap(), 42);
    assert_eq!(tokio::task::block_in_place(|| 7), 7);
}

async fn files_can_be_used_asynchronously() {
    // Neither std::env::temp_dir nor std::process::id: both panic on WASI.
    let path = "/tmp/dormouse-probe";
    tokio::fs::write(path, "text").await.unwrap();
    assert_eq!(tokio::fs::read_to_string(path).await.unwrap(), "text");
    tokio::fs::remove_file(path).await.unwrap();
    assert_eq!(tokio::fs::read(path).await.unwrap_err().kind(), io::ErrorKind::NotFound);
}

async fn tasks_and_timers_interleave() {
    let start = Instant::now();
    let tasks: Vec<_> =
        (1..=20).map(|i| tokio::spawn(async move { tokio::time::sleep(Duration::from_millis(i)).await })).collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert!(start.elapsed() >= Duration::from_millis(20));
    let (send, mut receive) = tokio::sync::mpsc::channel(1);
    tokio::spawn(async move {
        for i in 0..100 {
            send.send(i).await.unwrap();
        }
    });
    let mut sum = 0;
    while let Some(i) = receive.recv().await {
        sum += i;
    }
    assert_eq!(sum, 4950);
}

async fn the_host_name_is_known() {
    assert!(!hostname::get().unwrap().is_empty());
}

async fn a_signal_that_does_not_come_is_waited_for() {
    let mut hangup = signal(SignalKind::hangup()).unwrap();
    let waited = tokio::time::timeout(Duration::from_millis(5), hangup.recv()).await;
    assert!(waited.is_err());
    assert!(tokio::time::timeout(Duration::from_millis(5), tokio::signal::ctrl_c()).await.is_err());
    assert!(signal(SignalKind::from_raw(9)).is_err());
}

async fn bad_names_and_addresses_are_errors() {
    assert!(TcpStream::connect("no port").await.is_err());
    assert!(TcpStream::connect(("bad/../name", 80)).await.is_err());
    assert!(TcpStream::connect("[::1").await.is_err());
    assert!(tokio::net::lookup_host("").await.is_err());
    let numeric: Vec<_> = tokio::net::lookup_host("127.0.0.1:80").await.unwrap().collect();
    assert_eq!(numeric, ["127.0.0.1:80".parse().unwrap()]);
    let _ = TcpSocket::new_v4().unwrap();
}

#[tokio::main]
async fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [verb, operand] = &arguments[..] {
        return match verb.as_str() {
            "serve" => serve(operand.parse().expect("a port")).await,
            _ => call(operand).await,
        };
    }
    macro_rules! claims {
        ($($claim:ident)*) => { $( $claim().await; println!("ok {}", stringify!($claim)); )* };
    }
    claims! {
        blocking_work_runs files_can_be_used_asynchronously tasks_and_timers_interleave the_host_name_is_known
        a_signal_that_does_not_come_is_waited_for bad_names_and_addresses_are_errors
    }
    println!("probe passed");
    Ok(())
}

/// Answers each connection's bytes in capitals until it ends; stops at SIGTERM.
async fn serve(port: u16) -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let listener = TcpListener::bind(("0.0.0.0", port)).await?;
    assert_eq!(listener.local_addr()?.port(), port);
    println!("listening on {port}");
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            accepted = listener.accept() => {
                let (stream, _) = accepted?;
                tokio::spawn(answer(stream));
            }
        }
    }
    println!("terminated");
    Ok(())
}

async fn answer(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut bytes = [0; 1024];
    loop {
        let n = stream.read(&mut bytes).await?;
        if n == 0 {
            return stream.shutdown().await;
        }
        bytes[..n].make_ascii_uppercase();
        stream.write_all(&bytes[..n]).await?;
    }
}

async fn call(address: &str) -> io::Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    assert_eq!(stream.peer_addr()?.port().to_string(), address.rsplit(':').next().unwrap());
    for size in [1, 1000, 300_000] {
        // Both halves at once: the server answers while we still write.
        let (mut read, mut write) = stream.split();
        let sent = vec![b'x'; size];
        let mut answer = vec![0; size];
        let (wrote, got) = tokio::join!(write.write_all(&sent), read.read_exact(&mut answer));
        wrote.and(got)?;
        assert!(answer.iter().all(|b| *b == b'X'));
    }
    stream.shutdown().await?;
    assert_eq!(stream.read(&mut [0; 1]).await?, 0);
    println!("call passed");
    Ok(())
}
