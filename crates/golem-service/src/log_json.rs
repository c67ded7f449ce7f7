//! Log lines as JSON.
//!
//! Owns their form: one object a line with `timestamp`, `level`, `message`, `target` and the line's own
//! fields; an error's causes follow it as a list, `error.sources`. The form that tracing-subscriber has for
//! JSON leaves the causes out. Never decides what is logged.

use std::error::Error;
use std::fmt::{self, Debug};

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// Writes each event as one line of JSON.
#[derive(Debug, Clone, Copy)]
pub struct Json;

impl<S, N> FormatEvent<S, N> for Json
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut fields = Fields::default();
        fields.put("timestamp", jiff::Timestamp::now().to_string());
        fields.put("level", event.metadata().level().as_str());
        event.record(&mut fields);
        fields.put("target", event.metadata().target());
        writeln!(writer, "{}", Value::Object(fields.0))
    }
}

/// The fields of an event, by name; the causes of an error `e` as `e.sources`.
#[derive(Debug, Default)]
pub(crate) struct Fields(pub(crate) Map<String, Value>);

impl Fields {
    fn put(&mut self, name: &str, value: impl Into<Value>) {
        self.0.insert(name.to_owned(), value.into());
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.put(field.name(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field.name(), value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field.name(), value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field.name(), value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field.name(), value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field.name(), value);
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.put(field.name(), value.to_string());
        let (mut sources, mut cause) = (Vec::<Value>::new(), value.source());
        while let Some(error) = cause {
            sources.push(error.to_string().into());
            cause = error.source();
        }
        if !sources.is_empty() {
            self.put(&format!("{}.sources", field.name()), sources);
        }
    }
}
