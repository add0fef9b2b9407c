//! Counts words with several threads and answers over HTTP.

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream, ToSocketAddrs};
use std::sync::{mpsc, Arc, Mutex};
use std::thread;

fn count(text: &str) -> HashMap<String, usize> {
    let (tx, rx) = mpsc::channel();
    let mut workers = Vec::new();
    for line in text.lines().map(str::to_owned) {
        let tx = tx.clone();
        workers.push(thread::spawn(move || {
            for word in line.split_whitespace() {
                tx.send(word.to_lowercase()).expect("the receiver lives on");
            }
        }));
    }
    drop(tx);
    let mut counts = HashMap::new();
    for word in rx {
        *counts.entry(word).or_insert(0) += 1;
    }
    for w in workers {
        w.join().expect("a worker panicked");
    }
    counts
}

/// Fetches a page of a host by plain HTTP, as this program's own clients do.
fn fetch(host: &str, port: u16, path: &str) -> std::io::Result<String> {
    let addr = (host, port)
        .to_socket_addrs()?
        .find(|a| a.is_ipv4())
        .ok_or_else(|| std::io::Error::new(std::io::ErrorKind::NotFound, "no address"))?;
    let mut conn = TcpStream::connect(addr)?;
    write!(conn, "GET {} HTTP/1.0\r\nHost: {}\r\n\r\n", path, host)?;
    let mut text = String::new();
    conn.read_to_string(&mut text)?;
    Ok(text.split("\r\n\r\n").nth(1).unwrap_or("").to_owned())
}

fn answer(path: &str, hits: &Mutex<usize>) -> (u16, String) {
    *hits.lock().unwrap() += 1;
    let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    match parts.as_slice() {
        ["count", word] => match fs::read_to_string("/usr/share/counter/words.txt") {
            Ok(text) => (200, count(&text).get(*word).copied().unwrap_or(0).to_string()),
            Err(e) => (500, e.to_string()),
        },
        ["via", host, word] => match fetch(host, 8080, &format!("/count/{}", word)) {
            Ok(text) => (200, format!("via {}: {}", host, text)),
            Err(e) => (502, e.to_string()),
        },
        ["panic"] => {
            let r = thread::spawn(|| {
                let v: Vec<u8> = Vec::new();
                v[hint()]
            })
            .join();
            (500, if r.is_err() { "a thread panicked".into() } else { "no panic".into() })
        }
        ["env", name] => (200, std::env::var(name).unwrap_or_else(|e| e.to_string())),
        _ => (404, "no such page".into()),
    }
}

fn hint() -> usize {
    std::env::args().count() + 7
}

fn serve(conn: TcpStream, hits: &Mutex<usize>) -> std::io::Result<()> {
    let mut reader = BufReader::new(conn.try_clone()?);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    loop {
        let mut header = String::new();
        if reader.read_line(&mut header)? == 0 || header == "\r\n" {
            break;
        }
    }
    let path = line.split_whitespace().nth(1).unwrap_or("/").to_owned();
    let (status, body) = answer(&path, hits);
    let mut conn = conn;
    write!(conn, "HTTP/1.1 {} -\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{}", status, body.len(), body)
}

fn main() -> std::io::Result<()> {
    let listener = TcpListener::bind(("0.0.0.0", 8080))?;
    let hits = Arc::new(Mutex::new(0));
    println!("listening");
    for conn in listener.incoming() {
        let hits = Arc::clone(&hits);
        let conn = conn?;
        thread::spawn(move || {
            if let Err(e) = serve(conn, &hits) {
                eprintln!("{}", e);
            }
        });
    }
    Ok(())
}
