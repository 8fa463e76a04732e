//! Logs: to standard error, as text or as JSON.

use std::io::{self, IsTerminal};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

use crate::args::{Global, LogFormat};
use crate::failure::{CommandError, Exit};

/// Chooses what is logged, per module, as `tieline_node=debug,info`; `-v` is the shorter way.
const FILTER_VARIABLE: &str = "TIELINE_LOG";

/// The filter in the environment is none.
#[derive(Debug, thiserror::Error)]
#[error(
    "{FILTER_VARIABLE} holds no filter; write it as in {FILTER_VARIABLE}=debug or tieline_node=trace,info"
)]
pub(crate) struct LoggingError(#[from] ParseError);

impl CommandError for LoggingError {
    fn exit(&self) -> Exit {
        Exit::Wrong
    }
}

/// Starts logging.
///
/// # Errors
///
/// [`LoggingError`] if the environment holds no filter.
pub(crate) fn start(global: &Global) -> Result<(), LoggingError> {
    let level = match global.verbose {
        0 => LevelFilter::INFO,
        1 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    let filter = match std::env::var(FILTER_VARIABLE) {
        Ok(filter) if global.verbose == 0 => EnvFilter::try_new(filter)?,
        _ => EnvFilter::default().add_directive(level.into()),
    };
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    match global.log_format {
        LogFormat::Json => builder.json().init(),
        // The journal writes the time itself.
        LogFormat::Text if std::env::var_os("JOURNAL_STREAM").is_some() => {
            builder.without_time().with_ansi(false).init();
        }
        LogFormat::Text => builder.with_ansi(io::stderr().is_terminal()).init(),
    }
    Ok(())
}
