//! What a request asks, read and checked as far as it can be without its caller.

use serde_json::Value;

use super::{
    error::{self, Refused},
    events::Subscription,
    mask,
    query::Query,
    registration,
    route::{Route, Stored},
    storage::Search,
};
use crate::simulator::{
    sync::lock,
    v3::{
        KINDS, V3,
        messages::{Downlink, Failure, PRIORITIES},
        request::{self, Misfit, is_id},
        simulated::Simulation,
        stored::Page,
    },
};

/// The most devices of one page.
const LONGEST_PAGE: u32 = 1000;
/// How many devices come if nothing is said.
const USUAL_PAGE: u32 = 100;

pub(super) enum Ask {
    Nothing,
    Mask(Vec<String>),
    List(List),
    Downlinks(Vec<Downlink>),
    Message(Box<Simulation>),
    Search(Box<Search>),
    Subscription(Subscription),
}

/// A page of devices.
pub(super) struct List {
    pub(super) mask: Vec<String>,
    pub(super) limit: usize,
    /// How many come on the pages before.
    pub(super) skipped: usize,
    /// The member to sort by, and whether the order is falling.
    pub(super) order: (String, bool),
}

impl V3 {
    pub(super) fn ask(&self, route: &Route, query: &str, body: &[u8]) -> Result<Ask, Refused> {
        let query = Query::read(query)?;
        match route {
            Route::Push(..) | Route::Replace(..) => {
                let read = read_downlinks(body);
                if let Err(Misfit::Unreadable) = read {
                    return Err(Refused::unreadable(unreadable(body)));
                }
                self.check_ids(route)?;
                read.map(Ask::Downlinks).map_err(|misfit| match misfit {
                    Misfit::Unreadable => Refused::unreadable(unreadable(body)),
                    Misfit::Invalid(index, field, reason) => {
                        let random = &mut lock(&self.state).random;
                        Failure::invalid(index, field, reason, random).into()
                    }
                })
            }
            Route::Simulate(..) => {
                let message: Value = match body {
                    b"" => Value::Object(serde_json::Map::new()),
                    body => serde_json::from_slice(body).map_err(|cause| {
                        Refused::unreadable(format!("unmarshal error: {cause}"))
                    })?,
                };
                self.check_ids(route)?;
                let simulation = self.simulation(message);
                simulation.map(Box::new).map(Ask::Message).map_err(|path| {
                    Failure::validation(&path, "ApplicationUp", "value is required").into()
                })
            }
            Route::Devices(_) => {
                let mask = query.mask()?;
                let limit = query.number("limit")?;
                let page = query.number("page")?;
                let order = query.text("order")?.unwrap_or("device_id").to_owned();
                self.check_ids(route)?;
                let kind = route.message();
                let limit = match limit {
                    None | Some(0) => USUAL_PAGE,
                    Some(limit) if limit <= LONGEST_PAGE => limit,
                    Some(_) => {
                        let reason = "value must be less than or equal to 1000";
                        return Err(Failure::validation("limit", kind, reason).into());
                    }
                };
                let (falling, by) = match order.strip_prefix('-') {
                    Some(by) => (true, by.to_owned()),
                    None => (false, order),
                };
                if !registration::ORDERS.contains(&by.as_str()) {
                    let reason = "value must be in list";
                    return Err(Failure::validation("order", kind, reason).into());
                }
                check_mask(&mask, route)?;
                let before = page.unwrap_or_default().max(1) - 1;
                Ok(Ask::List(List {
                    mask,
                    limit: limit as usize,
                    skipped: before as usize * limit as usize,
                    order: (by, falling),
                }))
            }
            Route::Application(_) | Route::Device(..) => {
                let mask = query.mask()?;
                self.check_ids(route)?;
                check_mask(&mask, route)?;
                Ok(Ask::Mask(mask))
            }
            Route::Storage(stored) => {
                let search = self.search(route, stored, &query)?;
                Ok(Ask::Search(Box::new(search)))
            }
            Route::Events => {
                let subscription = Subscription::read(body).map_err(Refused::unreadable)?;
                for (app_id, dev_id) in &subscription.ids {
                    self.check(&[(Some(app_id), false), (dev_id.as_deref(), true)], "")?;
                }
                Ok(Ask::Subscription(subscription))
            }
            _ => {
                self.check_ids(route)?;
                Ok(Ask::Nothing)
            }
        }
    }

    /// Reads what is asked of the storage.
    fn search(&self, route: &Route, stored: &Stored, query: &Query) -> Result<Search, Refused> {
        let limit = query.number("limit")?;
        let order = query.text("order")?.unwrap_or_default();
        let mask = query.mask()?;
        let mut search = Search {
            after: query.time("after")?,
            before: query.time("before")?,
            last: query.duration("last")?,
            port: query.number("f_port")?,
            page: Page {
                limit: limit.unwrap_or(LONGEST_PAGE),
                is_falling: order == "-received_at",
            },
            mask: Vec::new(),
            is_for_uplinks: matches!(stored.kind.as_str(), "" | "uplink_message"),
        };
        self.check_ids(route)?;
        let invalid = |field: &str, reason: &str| {
            Err(Failure::validation(field, route.message(), reason).into())
        };
        let is_known = KINDS.iter().any(|(_, member)| *member == stored.kind);
        let is_uncounted = stored.is_count && stored.kind == "uplink_normalized";
        if !(is_known || stored.kind.is_empty()) || is_uncounted {
            return invalid("type", "value must be in list");
        }
        if stored.is_count {
            return Ok(search);
        }
        if !matches!(order, "" | "received_at" | "-received_at") {
            return invalid("order", "value must be in list");
        }
        if let Some(path) = mask.iter().find(|path| !mask::has(path)) {
            return Err(error::forbidden_path(path).into());
        }
        if search.page.limit > LONGEST_PAGE {
            return invalid("limit", "value must be less than or equal to 1000");
        }
        search.mask = mask;
        Ok(search)
    }

    fn check_ids(&self, route: &Route) -> Result<(), Refused> {
        let (app, dev) = route.ids();
        let kind = match route.is_of_identity_server() {
            true => route.message(),
            false => "",
        };
        self.check(&[(app, false), (dev, true)], kind)
    }

    /// Checks ids, each with whether it is that of a device; `kind` is the message of an Identity Server's
    /// request.
    fn check(&self, ids: &[(Option<&str>, bool)], kind: &str) -> Result<(), Refused> {
        let wrong = |(id, is_device): &(Option<&str>, bool)| {
            let id = id.filter(|id| !is_id(id))?;
            Some((id.to_owned(), *is_device))
        };
        let Some((id, is_device)) = ids.iter().find_map(wrong) else {
            return Ok(());
        };
        let random = &mut lock(&self.state).random;
        Err(error::invalid_id(&id, is_device, kind, random).into())
    }
}

fn check_mask(mask: &[String], route: &Route) -> Result<(), Refused> {
    let forbidden = mask.iter().find(|path| !registration::has(route, path));
    forbidden.map_or(Ok(()), |path| Err(error::forbidden_path(path).into()))
}

/// Reads downlinks. Unlike over MQTT, an unknown priority is an error.
fn read_downlinks(body: &[u8]) -> Result<Vec<Downlink>, Misfit> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(Vec::new());
    }
    if unknown_priority(body).is_some() {
        return Err(Misfit::Unreadable);
    }
    request::read(body)
}

fn unknown_priority(body: &[u8]) -> Option<String> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let mut given = body["downlinks"].as_array()?.iter();
    given.find_map(|downlink| {
        let name = downlink["priority"].as_str()?;
        (!PRIORITIES.contains(&name)).then(|| name.to_owned())
    })
}

/// Returns what the server says about a body that it cannot read.
fn unreadable(body: &[u8]) -> String {
    let value: Value = match serde_json::from_slice(body) {
        Ok(value) => value,
        Err(cause) => return format!("unmarshal error: {cause}"),
    };
    let start = "unmarshal error at path \"downlinks\"";
    if let Some(name) = unknown_priority(body) {
        return format!("{start}: unknown value for enum: {name}");
    }
    let mut texts = value["downlinks"].as_array().into_iter().flatten();
    let at = texts.find_map(|downlink| {
        let text = downlink["frm_payload"].as_str()?;
        let is_digit = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/-_=".contains(byte);
        let strange = text.bytes().position(|byte| !is_digit(&byte));
        let is_cut = text.len() % 4 != 0;
        strange.or_else(|| is_cut.then_some(text.len() / 4 * 4))
    });
    match at {
        Some(at) => format!("{start}: invalid value: illegal base64 data at input byte {at}"),
        None => format!("{start}: invalid value"),
    }
}
