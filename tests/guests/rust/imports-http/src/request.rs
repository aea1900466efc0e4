//! One request through the plain interface of `wasi:http`.

use wasip2::http::outgoing_handler;
use wasip2::http::types::{
    ErrorCode, Fields, FutureIncomingResponse, IncomingResponse, Method, OutgoingBody, OutgoingRequest,
    RequestOptions, Scheme, http_error_code,
};
use wasip2::io::streams::StreamError;

/// Most bytes in one write, as `blocking-write-and-flush` requires.
const CHUNK: u64 = 4096;

/// The plan of a request.
pub struct Plan {
    pub method: String,
    pub url: String,
    pub headers: Vec<(String, String)>,
    pub body: Option<u64>,
    pub read: u64,
    pub follow: u32,
    pub times: u32,
    pub connect: Option<u64>,
    pub first_byte: Option<u64>,
    pub between_bytes: Option<u64>,
    pub forget: bool,
    pub unfinished: bool,
    pub spin: bool,
    pub anyway: bool,
}

impl Plan {
    /// `None` if there is no URL.
    pub fn read(words: &str) -> Option<Self> {
        let mut words = words.split(' ');
        let (method, url) = (words.next()?.to_owned(), words.next()?.to_owned());
        let mut plan = Self {
            method,
            url,
            headers: Vec::new(),
            body: None,
            read: u64::MAX,
            follow: 0,
            times: 1,
            connect: None,
            first_byte: None,
            between_bytes: None,
            forget: false,
            unfinished: false,
            spin: false,
            anyway: false,
        };
        for word in words {
            let (option, value) = word.split_once(':').unwrap_or((word, ""));
            let number = || value.parse::<u64>().unwrap();
            match option {
                "header" => {
                    let (name, value) = value.split_once('=').unwrap();
                    plan.headers.push((name.to_owned(), value.to_owned()));
                }
                "body" => plan.body = Some(number()),
                "read" => plan.read = number(),
                "follow" => plan.follow = number() as u32,
                "times" => plan.times = number() as u32,
                "connect" => plan.connect = Some(number()),
                "first-byte" => plan.first_byte = Some(number()),
                "between-bytes" => plan.between_bytes = Some(number()),
                "forget" => plan.forget = true,
                "unfinished" => plan.unfinished = true,
                "spin" => plan.spin = true,
                "anyway" => plan.anyway = true,
                _ => panic!("no option {option}"),
            }
        }
        Some(plan)
    }
}

/// The response.
pub struct Response {
    pub status: u16,
    pub headers: usize,
    pub location: Option<String>,
    pub body: Vec<u8>,
}

/// Sends the plan's request to `url`. Returns `None` if it does not wait for the response.
pub fn send(plan: &Plan, url: &str) -> Result<Option<Response>, String> {
    let request = prepare(plan, url)?;
    let body = plan
        .body
        .map(|bytes| (request.body().expect("its first body"), bytes));
    let options = RequestOptions::new();
    let nanoseconds = |milliseconds: Option<u64>| milliseconds.map(|ms| ms * 1_000_000);
    let set = options.set_connect_timeout(nanoseconds(plan.connect)).is_ok()
        && options
            .set_first_byte_timeout(nanoseconds(plan.first_byte))
            .is_ok()
        && options
            .set_between_bytes_timeout(nanoseconds(plan.between_bytes))
            .is_ok();
    assert!(set, "the options are set");
    let future = outgoing_handler::handle(request, Some(options)).map_err(|code| at("handle", code))?;
    let written = body.map_or(Ok(()), |(body, bytes)| write(body, bytes, plan.unfinished));
    if plan.forget {
        // Kept until the end of the call, because dropping the handle would end the request.
        std::mem::forget(future);
        return Ok(None);
    }
    // The response reports why the body could not be written.
    let response = wait(&future)?;
    written?;
    let headers = response.headers();
    let location = headers
        .get("location")
        .pop()
        .and_then(|value| String::from_utf8(value).ok());
    let headers = headers.entries().len();
    if plan.spin {
        loop {
            std::hint::black_box(&response);
        }
    }
    Ok(Some(Response {
        status: response.status(),
        headers,
        location,
        body: read(&response, plan.read)?,
    }))
}

fn prepare(plan: &Plan, url: &str) -> Result<OutgoingRequest, String> {
    let fields = Fields::new();
    for (name, value) in &plan.headers {
        fields
            .append(name, value.as_bytes())
            .map_err(|error| format!("header: {error:?}"))?;
    }
    let (scheme, rest) = url.split_once("://").ok_or("url")?;
    let at = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(at);
    let request = OutgoingRequest::new(fields);
    let method = match plan.method.as_str() {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        "POST" => Method::Post,
        "CONNECT" => Method::Connect,
        other => Method::Other(other.to_owned()),
    };
    let scheme = match scheme {
        "http" => Scheme::Http,
        "https" => Scheme::Https,
        other => Scheme::Other(other.to_owned()),
    };
    let path = if path.is_empty() { "/" } else { path };
    request.set_method(&method).map_err(|()| "method")?;
    request.set_scheme(Some(&scheme)).map_err(|()| "scheme")?;
    request.set_authority(Some(authority)).map_err(|()| "authority")?;
    request.set_path_with_query(Some(path)).map_err(|()| "path")?;
    Ok(request)
}

fn write(body: OutgoingBody, bytes: u64, unfinished: bool) -> Result<(), String> {
    let stream = body.write().expect("its first stream");
    let mut left = bytes;
    while left > 0 {
        let chunk = left.min(CHUNK);
        if let Err(error) = stream.blocking_write_and_flush(&vec![b'b'; chunk as usize]) {
            return Err(stream_error("write", error));
        }
        left -= chunk;
    }
    drop(stream);
    if unfinished {
        return Ok(());
    }
    OutgoingBody::finish(body, None).map_err(|code| at("finish", code))
}

fn wait(future: &FutureIncomingResponse) -> Result<IncomingResponse, String> {
    loop {
        if let Some(response) = future.get() {
            return response
                .expect("asked for once")
                .map_err(|code| at("response", code));
        }
        future.subscribe().block();
    }
}

fn read(response: &IncomingResponse, most: u64) -> Result<Vec<u8>, String> {
    let body = response.consume().expect("its first reader");
    let stream = body.stream().expect("its first stream");
    let mut bytes = Vec::new();
    while (bytes.len() as u64) < most {
        match stream.blocking_read(most - bytes.len() as u64) {
            Ok(more) => bytes.extend(more),
            Err(StreamError::Closed) => break,
            Err(error) => return Err(stream_error("body", error)),
        }
    }
    Ok(bytes)
}

fn stream_error(what: &str, error: StreamError) -> String {
    match error {
        StreamError::Closed => format!("{what}: closed"),
        StreamError::LastOperationFailed(error) => match http_error_code(&error) {
            Some(code) => at(what, code),
            None => format!("{what}: {}", error.to_debug_string()),
        },
    }
}

fn at(what: &str, code: ErrorCode) -> String {
    let code = format!("{code:?}");
    format!("{what}: {}", code.trim_start_matches("ErrorCode::"))
}
