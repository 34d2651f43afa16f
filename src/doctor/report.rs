//! What a diagnosis has found.

use std::{fmt, time::Duration};

use serde::Serialize;

use crate::message::json;

/// What [`diagnose`](crate::MqttClientBuilder::diagnose) has found: one step after the other, in the
/// order in which a connection needs them.
///
/// Prints as a text of several lines. Neither the access key nor the secret for a proxy is in it.
///
/// ```
/// use ttn::{MqttClient, Network, simulator::Simulator};
///
/// let network = Simulator::start(Network::V3)?;
/// let report = MqttClient::builder(network.app_id(), network.access_key())
///     .mqtt_address(network.mqtt_address())
///     .diagnose();
/// assert!(report.is_healthy(), "{report}");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// The steps, in order.
    pub steps: Vec<Step>,
    /// How long the diagnosis took.
    #[serde(serialize_with = "json::seconds")]
    pub took: Duration,
}

/// A step of a diagnosis.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Step {
    /// What was looked at: one of [`Step::NAMES`].
    pub name: &'static str,
    /// What came of it.
    pub verdict: Verdict,
    /// What was seen: addresses, answers, times.
    pub evidence: Vec<String>,
}

/// What came of a [`Step`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "verdict", content = "why")]
#[non_exhaustive]
pub enum Verdict {
    /// All is well.
    Ok,
    /// It works, but: what to look at, and what to do.
    Warning(String),
    /// It does not work: why, and what to do.
    Failed(String),
    /// It was not looked at: why.
    Skipped(String),
}

impl Report {
    /// Returns whether no step has failed. There may be warnings.
    pub fn is_healthy(&self) -> bool {
        self.failed().is_none()
    }

    /// Says in one sentence what is wrong and what to do: the first step that has failed, or else the
    /// first warning, or that all is well.
    pub fn verdict(&self) -> String {
        let of = |is: fn(&Verdict) -> bool| self.steps.iter().find(|step| is(&step.verdict));
        let warning = of(|verdict| matches!(verdict, Verdict::Warning(_)));
        match self
            .failed()
            .or(warning)
            .map(|step| (step.name, &step.verdict))
        {
            Some((name, Verdict::Failed(why))) => format!("{name}: {why}"),
            Some((name, Verdict::Warning(why))) => format!("it works, but {name}: {why}"),
            _ => "all is well".to_owned(),
        }
    }

    /// Returns the step with this name.
    pub fn step(&self, name: &str) -> Option<&Step> {
        self.steps.iter().find(|step| step.name == name)
    }

    fn failed(&self) -> Option<&Step> {
        let is_failed = |step: &&Step| matches!(step.verdict, Verdict::Failed(_));
        self.steps.iter().find(is_failed)
    }
}

impl Step {
    /// The names of the steps, in their order.
    pub const NAMES: [&'static str; 13] = [
        "options",
        "clock",
        "name",
        "TCP",
        "TLS",
        "HTTP API",
        "key",
        "discovery",
        "MQTT",
        "shared group",
        "uplinks",
        "devices",
        "least rights",
    ];

    pub(super) fn new(name: &'static str, verdict: Verdict) -> Self {
        Self {
            name,
            verdict,
            evidence: Vec::new(),
        }
    }

    pub(super) fn ok(name: &'static str) -> Self {
        Self::new(name, Verdict::Ok)
    }

    pub(super) fn warning(name: &'static str, why: impl Into<String>) -> Self {
        Self::new(name, Verdict::Warning(why.into()))
    }

    pub(super) fn failed(name: &'static str, why: impl Into<String>) -> Self {
        Self::new(name, Verdict::Failed(why.into()))
    }

    pub(super) fn skipped(name: &'static str, why: impl Into<String>) -> Self {
        Self::new(name, Verdict::Skipped(why.into()))
    }

    /// Adds what was seen.
    pub(super) fn seen(mut self, what: impl Into<String>) -> Self {
        self.evidence.push(what.into());
        self
    }

    /// Adds what was seen, several times.
    pub(super) fn all_seen(mut self, what: impl IntoIterator<Item = String>) -> Self {
        self.evidence.extend(what);
        self
    }

    pub(super) fn has_failed(&self) -> bool {
        matches!(self.verdict, Verdict::Failed(_))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in &self.steps {
            writeln!(f, "{step}")?;
        }
        write!(
            f,
            "verdict: {} ({:.1} s)",
            self.verdict(),
            self.took.as_secs_f64()
        )
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, why) = match &self.verdict {
            Verdict::Ok => ("ok", None),
            Verdict::Warning(why) => ("warning", Some(why)),
            Verdict::Failed(why) => ("FAILED", Some(why)),
            Verdict::Skipped(why) => ("skipped", Some(why)),
        };
        write!(f, "{word:>8}  {}", self.name)?;
        if let Some(why) = why {
            write!(f, ": {why}")?;
        }
        for seen in &self.evidence {
            write!(f, "\n          - {seen}")?;
        }
        Ok(())
    }
}

/// Adds advice to a sentence that may end with a question.
pub(super) fn and(sentence: &str, advice: &str) -> String {
    let first = advice.chars().next().unwrap_or_default();
    match advice
        .get(first.len_utf8()..)
        .filter(|_| !advice.is_empty())
    {
        None => sentence.to_owned(),
        Some(rest) if sentence.ends_with('?') => {
            format!("{sentence} {}{rest}", first.to_ascii_uppercase())
        }
        Some(_) => format!("{sentence}; {advice}"),
    }
}
