//! A registry for a test: a web server of one page, which can be told to
//! misbehave.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    sync::{Arc, Mutex},
    thread,
};

/// What was asked: a line for each request, and what its headers say.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) path: String,
    pub(crate) authorization: Option<String>,
    pub(crate) range: Option<String>,
}

#[derive(Default)]
struct State {
    pages: BTreeMap<String, (&'static str, Vec<u8>)>,
    asked: Vec<Request>,
    /// What one must show to get anything.
    password: Option<String>,
    /// Where to get a token, if that is what one must show.
    realm: Option<String>,
    /// Another server that has the blobs.
    elsewhere: Option<String>,
    /// After so many bytes of a blob the line is cut, once.
    cut: Option<usize>,
}

/// A web server on this machine. It ends with the test.
#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) host: String,
    state: Arc<Mutex<State>>,
}

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const BLOB: &str = "application/octet-stream";
const JSON: &str = "application/json";

impl Server {
    pub(crate) fn start() -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let host = listener.local_addr().expect("an address").to_string();
        let state = Arc::<Mutex<State>>::default();
        let server = Server { host, state };
        let ours = server.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let server = ours.clone();
                // The other side may hang up, on purpose.
                thread::spawn(move || drop(server.serve(&stream)));
            }
        });
        server
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().expect("nobody has panicked"));
    }

    /// Has the image of this layout, as `NAME:TAG` and by its digest.
    pub(crate) fn push(&self, layout: &Path, manifest: &[u8], name: &str) {
        let blobs = layout.join("blobs/sha256");
        for entry in std::fs::read_dir(&blobs).expect("blobs") {
            let path = entry.expect("a blob").path();
            let hex = path.file_name().expect("a name").display();
            let url = format!("/v2/{name}/blobs/sha256:{hex}");
            let bytes = std::fs::read(&path).expect("read");
            self.put(&url, BLOB, bytes.clone());
            let url = format!("/v2/{name}/manifests/sha256:{hex}");
            self.put(&url, MANIFEST, bytes);
        }
        let url = format!("/v2/{name}/manifests/latest");
        self.put(&url, MANIFEST, manifest.to_vec());
    }

    /// Has an index under this tag.
    pub(crate) fn push_index(&self, name: &str, tag: &str, index: &str) {
        let url = format!("/v2/{name}/manifests/{tag}");
        self.put(&url, INDEX, index.into());
    }

    fn put(&self, url: &str, kind: &'static str, bytes: Vec<u8>) {
        self.change(|it| drop(it.pages.insert(url.into(), (kind, bytes))));
    }

    /// Gives its images only to who shows this, and a token to whom.
    pub(crate) fn wants_token(&self, token: &str) {
        let host = &self.host;
        let realm = format!("http://{host}/token");
        let answer = format!(r#"{{"token":"{token}"}}"#);
        self.put("/token", JSON, answer.into());
        self.change(|it| {
            it.password = Some(format!("Bearer {token}"));
            it.realm = Some(realm);
        });
    }

    /// Gives its images only to who has this name and password, in base64.
    pub(crate) fn wants_login(&self, login: &str) {
        self.change(|it| it.password = Some(format!("Basic {login}")));
    }

    /// Sends everybody who wants a blob to another server.
    pub(crate) fn has_blobs_at(&self, other: &Server) {
        let state = other.state.clone();
        self.change(|it| {
            let mut other_state = state.lock().expect("nobody has panicked");
            other_state.pages = it.pages.clone();
            it.elsewhere = Some(other.host.clone());
        });
    }

    /// Hangs up after so many bytes of the next blob.
    pub(crate) fn cuts_after(&self, bytes: usize) {
        self.change(|it| it.cut = Some(bytes));
    }

    pub(crate) fn asked(&self) -> Vec<Request> {
        self.state
            .lock()
            .expect("nobody has panicked")
            .asked
            .clone()
    }

    fn serve(&self, stream: &TcpStream) -> std::io::Result<()> {
        let mut lines = BufReader::new(stream).lines();
        loop {
            let Some(first) = lines.next() else {
                return Ok(());
            };
            let first = first?;
            let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
            let (path, query) = path.split_once('?').unwrap_or((&path, ""));
            let mut headers = BTreeMap::new();
            for line in lines.by_ref() {
                let line = line?;
                let Some((name, value)) = line.split_once(": ") else {
                    break;
                };
                headers.insert(name.to_ascii_lowercase(), value.to_owned());
            }
            let request = Request {
                path: format!("{path}?{query}"),
                authorization: headers.get("authorization").cloned(),
                range: headers.get("range").cloned(),
            };
            let (head, body, cut) = self.answer(path, &request);
            let mut stream = stream;
            stream.write_all(head.as_bytes())?;
            stream.write_all(&body)?;
            if cut {
                return stream.shutdown(std::net::Shutdown::Both);
            }
        }
    }

    /// Head and body, and whether the line is to be cut behind it.
    fn answer(&self, path: &str, request: &Request) -> (String, Vec<u8>, bool) {
        let mut state = self.state.lock().expect("nobody has panicked");
        state.asked.push(request.clone());
        let refused = path.starts_with("/v2/")
            && state.password.is_some()
            && state.password != request.authorization;
        let mut more = String::new();
        let (status, kind, body): (&str, &str, Vec<u8>) = if refused {
            let challenge = match &state.realm {
                Some(realm) => format!(
                    r#"Bearer realm="{realm}",service="test",scope="pull""#
                ),
                None => r#"Basic realm="test""#.to_owned(),
            };
            more = format!("WWW-Authenticate: {challenge}\r\n");
            ("401 Unauthorized", JSON, b"{}".to_vec())
        } else if let (Some(other), true) =
            (&state.elsewhere, path.contains("/blobs/"))
        {
            more = format!("Location: http://{other}{path}\r\n");
            ("307 Temporary Redirect", JSON, b"".to_vec())
        } else if let Some((kind, bytes)) = state.pages.get(path) {
            let from = request.range.as_ref().and_then(|it| {
                it.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()
            });
            let from: usize = from.unwrap_or(0);
            let (all, kind) = (bytes.len(), *kind);
            let body = bytes[from.min(all)..].to_vec();
            match from {
                0 => ("200 OK", kind, body),
                _ => {
                    let last = all - 1;
                    more =
                        format!("Content-Range: bytes {from}-{last}/{all}\r\n");
                    ("206 Partial Content", kind, body)
                }
            }
        } else {
            ("404 Not Found", JSON, b"{}".to_vec())
        };
        let length = body.len();
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\n{more}\
             Content-Length: {length}\r\n\r\n"
        );
        let cut = match state.cut {
            Some(bytes) if path.contains("/blobs/") && length > bytes => {
                state.cut = None;
                Some(bytes)
            }
            _ => None,
        };
        let body = body[..cut.unwrap_or(length)].to_vec();
        (head, body, cut.is_some())
    }
}
