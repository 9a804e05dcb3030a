//! Chromium without a window, spoken to over a pipe in the protocol of its developer tools.

use std::cell::RefCell;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// How long anything on a page may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running browser; it ends with this.
pub(crate) struct Browser {
    process: Child,
    pipe: RefCell<Pipe>,
    _profile: tempfile::TempDir,
}

struct Pipe {
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    sent: u64,
    /// What pages complained about.
    complaints: Vec<String>,
    /// The answer that a model did not give, for requests that are held.
    answer: Option<String>,
}

/// A page with a storage of its own.
pub(crate) struct Page<'b> {
    browser: &'b Browser,
    session: String,
}

impl Browser {
    /// Starts the program at `path`.
    pub(crate) fn start(path: &Path) -> Browser {
        let profile = tempfile::tempdir().expect("a folder");
        // The browser reads commands at descriptor 3 and answers at 4.
        let mut process = Command::new("sh")
            .args([
                "-c",
                r#"exec "$0" "$@" 3<&0 4>&1 </dev/null >/dev/null 2>&1"#,
            ])
            .arg(path)
            .args(["--headless=new", "--remote-debugging-pipe", "--no-sandbox"])
            .args(["--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"])
            .args(["--window-size=1200,900"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a shell");
        let pipe = Pipe {
            to: process.stdin.take().expect("a pipe"),
            from: BufReader::new(process.stdout.take().expect("a pipe")),
            sent: 0,
            complaints: Vec::new(),
            answer: None,
        };
        Browser {
            process,
            pipe: RefCell::new(pipe),
            _profile: profile,
        }
    }

    fn call(&self, session: Option<&str>, method: &str, params: Value) -> Value {
        let done = self.pipe.borrow_mut().call(session, method, params);
        done.unwrap_or_else(|error| panic!("{method}: {error}"))
    }

    /// Opens a page of a server, in a context that shares nothing with others.
    pub(crate) fn open(&self, address: SocketAddr, path: &str) -> Page<'_> {
        let context = self.call(None, "Target.createBrowserContext", json!({}));
        let context = &context["browserContextId"];
        let blank = json!({ "url": "about:blank", "browserContextId": context });
        let target = self.call(None, "Target.createTarget", blank);
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let session = self.call(None, "Target.attachToTarget", attach);
        let page = Page {
            browser: self,
            session: session["sessionId"].as_str().expect("an id").to_owned(),
        };
        for domain in ["Page.enable", "Runtime.enable", "Log.enable"] {
            page.call(domain, json!({}));
        }
        page.go(&format!("http://{address}{path}"));
        page
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.pipe.get_mut().send(None, "Browser.close", json!({}));
        let _ = self.process.wait();
    }
}

impl Pipe {
    fn send(&mut self, session: Option<&str>, method: &str, params: Value) -> std::io::Result<u64> {
        self.sent += 1;
        let mut message = json!({ "id": self.sent, "method": method, "params": params });
        if let Some(session) = session {
            message["sessionId"] = session.into();
        }
        self.to.write_all(format!("{message}\0").as_bytes())?;
        Ok(self.sent)
    }

    fn call(
        &mut self,
        session: Option<&str>,
        method: &str,
        params: Value,
    ) -> Result<Value, String> {
        let id = self
            .send(session, method, params)
            .expect("the browser listens");
        loop {
            let mut bytes = Vec::new();
            self.from
                .read_until(0, &mut bytes)
                .expect("the browser answers");
            assert_eq!(bytes.pop(), Some(0), "the browser has ended");
            let message: Value = serde_json::from_slice(&bytes).expect("JSON");
            if message["id"] == id {
                return match &message["error"] {
                    Value::Null => Ok(message["result"].clone()),
                    error => Err(error.to_string()),
                };
            }
            self.hear(&message);
        }
    }

    fn hear(&mut self, event: &Value) {
        let params = &event["params"];
        match event["method"].as_str().unwrap_or_default() {
            "Runtime.exceptionThrown" => self.complaints.push(params.to_string()),
            // That a request was refused is in the hands of the page.
            "Log.entryAdded" if params["entry"]["source"] != "network" => {
                self.complaints.push(params["entry"].to_string());
            }
            "Fetch.requestPaused" => {
                let answer = self.answer.as_deref().unwrap_or_default();
                let kind = json!({ "name": "Content-Type", "value": "text/event-stream" });
                let response = json!({
                    "requestId": params["requestId"],
                    "responseCode": 200,
                    "responseHeaders": [kind],
                    "body": STANDARD.encode(answer),
                });
                let session = event["sessionId"].as_str();
                let sent = self.send(session, "Fetch.fulfillRequest", response);
                sent.expect("the browser listens");
            }
            _ => {}
        }
    }
}

impl Page<'_> {
    pub(crate) fn call(&self, method: &str, params: Value) -> Value {
        self.browser.call(Some(&self.session), method, params)
    }

    /// Goes to an address.
    pub(crate) fn go(&self, address: &str) {
        self.call("Page.navigate", json!({ "url": address }));
    }

    /// Loads the page again.
    pub(crate) fn reload(&self) {
        self.eval("window.isOld = true");
        self.call("Page.reload", json!({}));
        self.until("!window.isOld && document.readyState === 'complete'");
    }

    /// The value of an expression on the page.
    #[track_caller]
    pub(crate) fn eval(&self, expression: &str) -> Value {
        let found = self.evaluate(expression);
        found.unwrap_or_else(|problem| panic!("{expression}: {problem}"))
    }

    fn evaluate(&self, expression: &str) -> Result<Value, String> {
        let params = json!({
            "expression": expression,
            "awaitPromise": true,
            "returnByValue": true,
            "userGesture": true,
        });
        let session = Some(self.session.as_str());
        let mut pipe = self.browser.pipe.borrow_mut();
        let found = pipe.call(session, "Runtime.evaluate", params)?;
        match &found["exceptionDetails"] {
            Value::Null => Ok(found["result"]["value"].clone()),
            problem => Err(problem.to_string()),
        }
    }

    #[track_caller]
    pub(crate) fn text(&self, expression: &str) -> String {
        let value = self.eval(expression);
        let text = value.as_str();
        text.unwrap_or_else(|| panic!("{expression} is {value}"))
            .to_owned()
    }

    /// Waits until a condition holds, on this page or the one that it becomes.
    #[track_caller]
    pub(crate) fn until(&self, condition: &str) {
        let began = Instant::now();
        while self.evaluate(&format!("Boolean({condition})")) != Ok(true.into()) {
            let seen = || self.text("document.body.innerText");
            assert!(began.elapsed() < PATIENCE, "{condition} on\n{}", seen());
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Presses and lets go the mouse in the middle of the element that a selector finds.
    #[track_caller]
    pub(crate) fn click(&self, selector: &str) {
        let found = self.eval(&format!(
            "(() => {{
                const found = document.querySelector({selector:?});
                if (!found) return null;
                found.scrollIntoView({{ block: 'center' }});
                const {{ x, y, width, height }} = found.getBoundingClientRect();
                return [x + width / 2, y + height / 2];
            }})()"
        ));
        assert!(found.is_array(), "no {selector}");
        for kind in ["mousePressed", "mouseReleased"] {
            let params = json!({
                "type": kind, "x": found[0], "y": found[1], "button": "left", "clickCount": 1,
            });
            self.call("Input.dispatchMouseEvent", params);
        }
    }

    /// Types a text where the focus is.
    pub(crate) fn write(&self, text: &str) {
        self.call("Input.insertText", json!({ "text": text }));
    }

    /// Presses a key, with Shift where it is written before it.
    pub(crate) fn press(&self, key: &str) {
        let (shift, key) = match key.strip_prefix("Shift+") {
            Some(key) => (8, key),
            None => (0, key),
        };
        let (code, text) = match key {
            "Enter" => (13, "\r"),
            "Escape" => (27, ""),
            "Tab" => (9, ""),
            other => panic!("no key {other}"),
        };
        for kind in ["keyDown", "keyUp"] {
            let mut params = json!({
                "type": kind, "key": key, "code": key, "modifiers": shift,
                "windowsVirtualKeyCode": code,
            });
            if kind == "keyDown" && !text.is_empty() {
                params["text"] = text.into();
            }
            self.call("Input.dispatchKeyEvent", params);
        }
    }

    /// From now on, the page has this for an answer of the model, which could not be made to say
    /// it.
    pub(crate) fn answer_with(&self, events: &str) {
        self.browser.pipe.borrow_mut().answer = Some(events.to_owned());
        let pattern = json!({ "urlPattern": "*/v1/chat/completions" });
        self.call("Fetch.enable", json!({ "patterns": [pattern] }));
    }

    /// What pages complained about so far: errors of scripts, and what a policy stopped.
    pub(crate) fn complaints(&self) -> Vec<String> {
        self.eval("0");
        self.browser.pipe.borrow().complaints.clone()
    }
}
