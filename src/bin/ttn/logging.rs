//! The library's log messages, on standard error.

use log::{Level, LevelFilter, Log, Metadata, Record};

use crate::{options, output};

/// Starts logging: warnings, and more with a higher verbosity.
pub(crate) fn start(verbosity: u8) {
    log::set_max_level(match verbosity {
        0 => LevelFilter::Warn,
        1 => LevelFilter::Debug,
        _ => LevelFilter::Trace,
    });
    // Nothing else in this process installs a logger.
    let _ = log::set_logger(&Logger);
}

struct Logger;

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // This program has no callbacks; what is lost is told by events.
        metadata.target().starts_with("ttn") && metadata.target() != "ttn::client::callbacks"
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let level = match record.level() {
                Level::Error => "error",
                Level::Warn => "warning",
                Level::Info => "info",
                Level::Debug => "debug",
                Level::Trace => "trace",
            };
            let text = options::named(&record.args().to_string());
            output::note(format_args!("{level}: {text}"));
        }
    }

    fn flush(&self) {}
}
