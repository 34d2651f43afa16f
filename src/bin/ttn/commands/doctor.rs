//! `ttn doctor`

use anyhow::Result;
use clap::Args;
use console::Style;
use ttn::doctor::{Report, Step, Verdict};

use crate::{
    broker::BrokerArguments, connection::Connection, escape::escaped_lines, options, output,
    status::Status,
};

/// How wide the word is that begins a step.
const WORD: usize = 8;

/// Find out why a connection does not work
#[derive(Args, Debug)]
#[command(
    after_help = "With --broker, it looks at your own broker instead of the network. \
    Ends with status 1 if something is wrong.\n\n\
    Example: ttn doctor --app my-app@ttn --cluster eu1"
)]
pub(crate) struct Doctor {
    /// Print the report as a line of JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    connection: Connection,

    #[command(flatten)]
    broker: BrokerArguments,
}

impl Doctor {
    pub(crate) fn run(self) -> Result<Status> {
        let builder = match self.broker.address() {
            Some(address) => {
                let builder = self.broker.builder(self.connection.app()?, address)?;
                match self.connection.network() {
                    Some(network) => builder.network(network),
                    None => builder,
                }
            }
            None => self.connection.builder()?,
        };
        let report = builder.diagnose();
        match self.json {
            true => output::json(&report)?,
            false => output::line(text(&report, console::colors_enabled()))?,
        }
        Ok(match report.is_healthy() {
            true => Status::Done,
            false => Status::Failed,
        })
    }
}

fn text(report: &Report, has_colours: bool) -> String {
    let plain = escaped_lines(&options::named(&report.to_string()));
    if !has_colours {
        return plain;
    }
    let mut steps = report.steps.iter();
    let lines = plain.lines().map(|line| {
        // What was seen in a step is indented further.
        match line.chars().nth(WORD - 1).filter(|it| !it.is_whitespace()) {
            Some(_) if line.is_char_boundary(WORD) => coloured(line, steps.next()),
            _ => line.to_owned(),
        }
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Colours the word that a step begins with.
fn coloured(line: &str, step: Option<&Step>) -> String {
    let style = match step.map(|step| &step.verdict) {
        Some(Verdict::Ok) => Style::new().green(),
        Some(Verdict::Warning(_)) => Style::new().yellow(),
        Some(Verdict::Failed(_)) => Style::new().red().bold(),
        Some(_) => Style::new().dim(),
        None => return line.to_owned(),
    };
    let (word, rest) = line.split_at(WORD);
    format!("{}{rest}", style.force_styling(true).apply_to(word))
}
