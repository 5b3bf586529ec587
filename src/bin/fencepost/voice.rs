//! What the command says: on standard error, so that standard output is its child's.

use serde_json::{Value, json};

use crate::failure::Failure;
use crate::rows::printable;

/// How it speaks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Voice {
    /// In JSON, one object a line.
    pub(crate) json: bool,
    /// Of failures and losses only.
    pub(crate) quiet: bool,
}

impl Voice {
    /// What programs may want to know, and people need not.
    pub(crate) fn event(self, event: &str, fields: Value) {
        if self.json && !self.quiet {
            eprintln!("{}", object(event, fields));
        }
    }

    /// What people may want to know.
    pub(crate) fn note(self, event: &str, text: &str, fields: Value) {
        if !self.quiet {
            self.warn(event, text, fields);
        }
    }

    /// What everybody has to know.
    pub(crate) fn warn(self, event: &str, text: &str, fields: Value) {
        if self.json {
            let mut object = object(event, fields);
            object["message"] = text.into();
            eprintln!("{object}");
        } else {
            // Keys are others' words: a terminal is not to obey them.
            eprintln!("fencepost: {}", printable(text));
        }
    }

    /// Why it failed.
    pub(crate) fn fail(self, failure: &Failure) {
        // Errors of libraries may have several lines.
        let text: Vec<_> = failure.to_string().split_whitespace().map(String::from).collect();
        self.warn("failed", &text.join(" "), json!({ "status": failure.status() }));
    }
}

fn object(event: &str, fields: Value) -> Value {
    let mut object = json!({ "event": event });
    if let (Some(object), Value::Object(fields)) = (object.as_object_mut(), fields) {
        object.extend(fields);
    }
    object
}
