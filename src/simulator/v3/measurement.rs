//! Measurements of a normalized payload.

use serde_json::{Map, Value};

/// What a member of a measurement may be.
enum Kind {
    Object,
    Time,
    Text(&'static [&'static str]),
    Flag,
    /// A number with its limits.
    Number(Option<f64>, Option<Limit>),
}

/// The upper limit of a number.
enum Limit {
    Maximum(f64),
    Below(f64),
}

/// The parts of a measurement that are in range, and a warning for each of the others.
pub(super) struct Valid {
    pub(super) parts: Map<String, Value>,
    pub(super) warnings: Vec<String>,
}

/// Checks a measurement. Returns `None` if it contains a member with an unknown name or of the wrong
/// type.
pub(super) fn check(measurement: &Value) -> Option<Valid> {
    members("", measurement.as_object()?)
}

fn members(prefix: &str, measured: &Map<String, Value>) -> Option<Valid> {
    let mut valid = Valid {
        parts: Map::new(),
        warnings: Vec::new(),
    };
    for (name, value) in measured {
        let path = format!("{prefix}{name}");
        match (kind(&path)?, value) {
            (Kind::Object, Value::Object(inner)) => {
                let inner = members(&format!("{path}."), inner)?;
                valid.warnings.extend(inner.warnings);
                if inner.parts.is_empty() {
                    continue;
                }
                valid.parts.insert(name.clone(), inner.parts.into());
                continue;
            }
            (Kind::Time, Value::String(time)) if humantime::parse_rfc3339(time).is_ok() => {}
            (Kind::Text(texts), Value::String(text)) if texts.contains(&text.as_str()) => {}
            (Kind::Flag, Value::Bool(_)) => {}
            (Kind::Number(minimum, maximum), Value::Number(number)) => {
                let excess = excess(number.as_f64()?, minimum, maximum);
                if let Some(excess) = excess {
                    valid.warnings.push(format!("`{path}` should be {excess}"));
                    continue;
                }
            }
            _ => return None,
        }
        valid.parts.insert(name.clone(), value.clone());
    }
    Some(valid)
}

/// Returns what the number should be, if it is out of range.
fn excess(number: f64, minimum: Option<f64>, maximum: Option<Limit>) -> Option<String> {
    let over = match maximum {
        Some(Limit::Maximum(limit)) if number > limit => {
            Some(format!("equal or less than `{limit}`"))
        }
        Some(Limit::Below(limit)) if number >= limit => Some(format!("less than `{limit}`")),
        _ => None,
    };
    match minimum {
        Some(limit) if number < limit => Some(format!("equal or greater than `{limit}`")),
        _ => over,
    }
}

/// Returns what may stand at a path, `None` if it is unknown.
fn kind(path: &str) -> Option<Kind> {
    let at_least = |minimum| Kind::Number(Some(minimum), None);
    let between = |minimum, maximum| Kind::Number(Some(minimum), Some(Limit::Maximum(maximum)));
    let below = |minimum, maximum| Kind::Number(Some(minimum), Some(Limit::Below(maximum)));
    Some(match path {
        "air" | "wind" | "soil" | "water" | "water.temperature" | "rain" | "metering"
        | "metering.water" | "action" | "action.motion" | "position" => Kind::Object,
        "time" => Kind::Time,
        "air.location" => Kind::Text(&["indoor", "outdoor"]),
        "action.contactState" => Kind::Text(&["open", "closed"]),
        "action.motion.detected" | "water.leak" => Kind::Flag,
        "air.temperature" | "soil.temperature" => at_least(-273.15),
        "water.temperature.min"
        | "water.temperature.max"
        | "water.temperature.avg"
        | "water.temperature.current" => at_least(-273.15),
        "air.relativeHumidity" | "soil.moisture" => between(0.0, 100.0),
        "air.pressure" => between(900.0, 1100.0),
        "air.co2" | "soil.n" | "soil.p" | "soil.k" => between(0.0, 1_000_000.0),
        "soil.pH" => between(0.0, 14.0),
        "soil.ec" => between(0.0, 621.0),
        "position.latitude" => between(-90.0, 90.0),
        "position.longitude" => between(-180.0, 180.0),
        "wind.direction" => below(0.0, 360.0),
        "air.lightIntensity"
        | "wind.speed"
        | "soil.depth"
        | "rain.intensity"
        | "rain.cumulative"
        | "metering.water.total"
        | "action.motion.count"
        | "battery" => at_least(0.0),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_out_of_range_is_left_out_with_a_warning() {
        let measurement = json!({
            "time": "2026-11-28T14:25:12Z",
            "air": {"temperature": -300, "relativeHumidity": 100.5, "pressure": 1000},
            "wind": {"direction": 360},
        });
        let valid = check(&measurement).unwrap();
        let parts = json!({"time": "2026-11-28T14:25:12Z", "air": {"pressure": 1000}});
        assert_eq!(Value::from(valid.parts), parts);
        let mut warnings = valid.warnings;
        warnings.sort();
        assert_eq!(
            warnings,
            [
                "`air.relativeHumidity` should be equal or less than `100`",
                "`air.temperature` should be equal or greater than `-273.15`",
                "`wind.direction` should be less than `360`",
            ]
        );
    }

    #[test]
    fn an_unknown_name_or_a_wrong_type_is_an_error() {
        for wrong in [
            json!({"temperature": 1}),
            json!({"air": {"temperature": "1"}}),
            json!({"air": 1}),
            json!({"air": {"smell": 1}}),
            json!({"time": "today"}),
            json!([]),
        ] {
            assert!(check(&wrong).is_none(), "{wrong}");
        }
        assert!(check(&json!({})).unwrap().parts.is_empty());
    }
}
