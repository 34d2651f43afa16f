//! What the storage answers.

use std::time::{Duration, SystemTime};

use super::{
    credentials::Credentials,
    error::{self, Refused, json},
    mask,
    stream::Delimiter,
};
use crate::simulator::{
    http::{Answer, Listed},
    json::Object,
    v3::{
        V3,
        identity::TRAFFIC_READ,
        storage::Access,
        stored::{Filter, Page},
    },
};

/// What a request asks of the storage, and all of it could be read.
pub(super) struct Search {
    pub(super) after: Option<SystemTime>,
    pub(super) before: Option<SystemTime>,
    pub(super) last: Option<Duration>,
    pub(super) port: Option<u32>,
    pub(super) page: Page,
    pub(super) mask: Vec<String>,
    /// Whether uplinks are asked for: nothing else is stored.
    pub(super) is_for_uplinks: bool,
}

impl Search {
    fn filter<'a>(&self, dev_id: Option<&'a str>) -> Filter<'a> {
        Filter {
            dev_id,
            after: self.after,
            before: self.before,
            last: self.last,
            port: self.port,
        }
    }
}

impl V3 {
    /// Answers the stored uplinks of an application, or of one of its devices.
    pub(super) fn stored_uplinks(
        &self,
        (app_id, dev_id): (&str, Option<&str>),
        search: &Search,
        delimiter: Delimiter,
        credentials: Credentials<'_>,
    ) -> Result<Answer, Refused> {
        let uid = self.require_stored(app_id, credentials)?;
        let frames = match search.is_for_uplinks {
            false => Vec::new(),
            true => {
                let filter = search.filter(dev_id);
                let now = self.env.clock.now();
                self.stored
                    .page(&uid, &filter, &search.page, now, |record| {
                        delimiter.frame(&mask::masked(&record.message, &search.mask))
                    })
            }
        };
        let is_empty = frames.is_empty();
        let answer = Answer::stream(200, Listed::new(frames));
        Ok(match is_empty {
            true => answer,
            false => answer.with("Content-Type", delimiter.content_type()),
        })
    }

    /// Answers how many uplinks of each device are stored.
    pub(super) fn count_stored(
        &self,
        (app_id, dev_id): (&str, Option<&str>),
        search: &Search,
        credentials: Credentials<'_>,
    ) -> Result<Answer, Refused> {
        let uid = self.require_stored(app_id, credentials)?;
        let mut body = Object::new();
        if search.is_for_uplinks {
            let filter = search.filter(dev_id);
            let counts = self.stored.count(&uid, &filter, self.env.clock.now());
            if !counts.is_empty() {
                let counts = counts
                    .iter()
                    .fold(Object::new(), |object, (dev_id, count)| {
                        object.member(dev_id, count)
                    });
                body = body.member("count", counts.finish());
            }
        }
        Ok(json(200, body.finish()))
    }

    fn require_stored(
        &self,
        app_id: &str,
        credentials: Credentials<'_>,
    ) -> Result<String, Refused> {
        let uid = self.require(app_id, credentials, &[TRAFFIC_READ])?;
        match self.stored.access() {
            Some(Access::Forbidden) => {
                Err(error::insufficient_rights(&uid, &[TRAFFIC_READ]).into())
            }
            _ => Ok(uid),
        }
    }
}
