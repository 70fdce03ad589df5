// SPDX-License-Identifier: Apache-2.0
//! The fixture guest in Rust: what std asks of the host, and each way to fail. The first argument says which part. What it
//! expects and does not find is a panic. (What tokio asks is tried by `sdk/rust/probe` and the operators.)

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::time::{Duration, Instant, SystemTime};
use std::{env, hint, process, thread};

fn main() {
    let part = env::args().nth(1).expect("an argument is given");
    match part.as_str() {
        "files" => files(&env::args().nth(2).expect("a folder is given")),
        "arguments" => {
            env::args().skip(2).for_each(|a| println!("argument {a}"));
            env::vars().for_each(|(k, v)| println!("variable {k}={v}"));
        }
        "clocks" => clocks(),
        "random" => random(),
        "kube" => kube(),
        "serve" => serve(),
        "signals" => signals(),
        "panic" => panic!("on purpose"),
        "bounds" => println!("{}", [1, 2, 3][hint::black_box(part.len())]),
        "exit" => process::exit(42),
        "memory" => memory(),
        "recursion" => println!("{}", recursion(1)),
        "loop" => {
            println!("looping");
            loop {
                hint::black_box(0);
            }
        }
        "abort" => process::abort(),
        _ => panic!("there is no part {part}"),
    }
    println!("ok");
}

fn files(dir: &str) {
    let (name, sub) = (format!("{dir}/a file"), format!("{dir}/sub"));
    fs::write(&name, "one\n").unwrap();
    let mut file = OpenOptions::new().read(true).append(true).open(&name).unwrap();
    file.write_all(b"two\n").unwrap();
    file.seek(SeekFrom::Start(4)).unwrap();
    let mut rest = String::new();
    file.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "two\n");
    file.sync_all().unwrap();
    drop(file);
    let file = OpenOptions::new().write(true).open(&name).unwrap();
    file.set_len(3).unwrap();
    let meta = file.metadata().unwrap();
    assert!(meta.is_file() && meta.len() == 3 && meta.modified().unwrap().elapsed().unwrap() < Duration::from_secs(3600));
    fs::create_dir_all(&sub).unwrap();
    fs::rename(&name, format!("{sub}/ä")).unwrap();
    assert_eq!(fs::metadata(&name).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(fs::read_to_string(format!("{sub}/ä")).unwrap(), "one");
    fs::copy(format!("{sub}/ä"), format!("{sub}/copy")).unwrap();
    fs::hard_link(format!("{sub}/ä"), format!("{sub}/link")).unwrap();
    let mut seen: Vec<_> = fs::read_dir(&sub).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    seen.sort();
    assert_eq!(seen, ["copy", "link", "ä"]);
    assert_eq!(fs::create_dir(&sub).unwrap_err().kind(), ErrorKind::AlreadyExists);
    assert!(File::open(format!("{dir}/../../etc/shadow")).is_err());
    fs::remove_dir_all(&sub).unwrap();
}

fn clocks() {
    assert!(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap() > Duration::from_secs(1_767_225_600)); // 2026
    let start = Instant::now();
    thread::sleep(Duration::from_millis(20));
    assert!(start.elapsed() >= Duration::from_millis(20));
}

fn random() {
    // std seeds each thread's maps from the host, then counts up: two maps differ.
    let (a, b): (HashMap<u32, u32>, HashMap<u32, u32>) = ((0..64).map(|n| (n, n)).collect(), (0..64).map(|n| (n, n)).collect());
    assert_eq!(a, b);
    assert!(!a.keys().eq(b.keys()));
}

/// Reads some bytes; waits by its own clock while there are none, for std has no poll.
fn read_some(stream: &mut File, into: &mut [u8]) -> usize {
    loop {
        match stream.read(into) {
            Err(e) if e.kind() == ErrorKind::WouldBlock => thread::sleep(Duration::from_millis(5)),
            other => return other.unwrap(),
        }
    }
}

fn write_all(stream: &mut File, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        match stream.write(bytes) {
            Err(e) if e.kind() == ErrorKind::WouldBlock => thread::sleep(Duration::from_millis(5)),
            other => bytes = &bytes[other.unwrap()..],
        }
    }
}

fn read_head(stream: &mut File) -> String {
    let (mut all, mut some) = (Vec::new(), [0; 4096]);
    while !all.windows(4).any(|w| w == b"\r\n\r\n") {
        let n = read_some(stream, &mut some);
        assert!(n > 0, "it ended after {} bytes", all.len());
        all.extend_from_slice(&some[..n]);
    }
    String::from_utf8_lossy(&all).lines().next().unwrap().to_owned()
}

fn open(path: &str) -> std::io::Result<File> {
    OpenOptions::new().read(true).write(true).open(path)
}

fn kube() {
    for _ in 0..2 {
        let mut stream = open("/net/kube").unwrap();
        write_all(&mut stream, b"GET /version HTTP/1.1\r\nHost: kube\r\nConnection: close\r\n\r\n");
        assert_eq!(read_head(&mut stream), "HTTP/1.1 200 OK");
    }
    assert_eq!(open("/net/tls/example.com:443").unwrap_err().kind(), ErrorKind::PermissionDenied);
    assert_eq!(open("/net/nowhere").unwrap_err().kind(), ErrorKind::NotFound);
}

#[cfg(target_os = "wasi")]
fn serve() {
    use std::os::fd::{FromRawFd, IntoRawFd};
    let listener = open("/net/listen/8080").unwrap();
    assert_eq!(open("/net/listen/8080").unwrap_err().kind(), ErrorKind::AddrInUse);
    // SAFETY: the descriptor is ours and nobody else's.
    let listener = unsafe { std::net::TcpListener::from_raw_fd(listener.into_raw_fd()) };
    println!("listening");
    loop {
        match listener.accept() {
            Err(e) if e.kind() == ErrorKind::WouldBlock => thread::sleep(Duration::from_millis(50)),
            Err(e) => panic!("accept: {e}"),
            Ok((connection, _)) => {
                // SAFETY: as above.
                let mut connection = unsafe { File::from_raw_fd(connection.into_raw_fd()) };
                println!("asked {}", read_head(&mut connection));
                write_all(&mut connection, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
            }
        }
    }
}
#[cfg(not(target_os = "wasi"))]
fn serve() {}

fn signals() {
    let mut stream = File::open("/run/signals").unwrap();
    println!("ready");
    let mut number = [0; 1];
    assert_eq!(read_some(&mut stream, &mut number), 1);
    println!("got {}", number[0]);
    process::exit(7);
}

fn memory() {
    let mut all: Vec<Vec<u8>> = Vec::new();
    loop {
        all.push(vec![all.len() as u8 | 1; 1 << 20]);
        if all.len() % 8 == 0 {
            println!("MiB {}", all.len());
        }
    }
}

#[allow(unconditional_recursion)]
fn recursion(depth: usize) -> usize {
    let frame = hint::black_box([depth as u8; 1024]);
    recursion(depth + 1) + frame[depth % 1024] as usize
}
