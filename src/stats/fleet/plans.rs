//! What devices and ways are tried.

use super::*;

pub(super) fn plans() -> Vec<Plan> {
    use Ends::*;
    let abp = PLAIN;
    let otaa = Plan { life: 60, ..PLAIN };
    let deep = Plan {
        ends: Restart,
        life: 6,
        within: Some((5 * SECOND, 2 * MINUTE)),
        unseen: [0.08; 2],
        ..PLAIN
    };
    let equal = Plan {
        payload: Payload::Equal,
        unseen: [0.08, 0.5],
        ..deep
    };
    let wraps = Plan {
        top: 0xffff,
        start: 0xffff - 150,
        ..abp
    };
    let fast = Plan {
        period: (SECOND, MINUTE),
        ..abp
    };
    let twice = Plan { again: 1.0, ..abp };
    let all = Plan {
        again: 0.5,
        again_after: 10 * SECOND,
        disorder: 3 * SECOND,
        silence: 0.005,
        away: 0.01,
        drops: 0.01,
        client_restarts: 0.005,
        simulated: 0.05,
        loss: 0.3,
        ..PLAIN
    };
    let confirmed = Plan {
        tries: 8,
        loss: 0.4,
        ..abp
    };
    vec![
        Plan {
            name: "nothing is lost",
            loss: 0.0,
            ..abp
        },
        Plan {
            name: "a fifth is lost",
            ..abp
        },
        Plan {
            name: "most is lost",
            loss: 0.6,
            ..abp
        },
        Plan {
            name: "16 bits",
            ..wraps
        },
        Plan {
            name: "16 bits, most is lost",
            loss: 0.6,
            ..wraps
        },
        Plan {
            name: "32 bits",
            top: u32::MAX,
            ..wraps
        },
        Plan {
            name: "new sessions",
            ends: NewSession,
            ..otaa
        },
        Plan {
            name: "new sessions in disorder",
            ends: NewSession,
            disorder: 5 * SECOND,
            ..otaa
        },
        Plan {
            name: "new sessions twice",
            ends: NewSession,
            again: 1.0,
            again_after: 2 * HOUR,
            ..otaa
        },
        Plan {
            name: "joins",
            ends: Join,
            ..otaa
        },
        Plan {
            name: "joins, away",
            ends: Join,
            away: 0.03,
            unseen: [0.1; 2],
            ..otaa
        },
        Plan {
            name: "restarts",
            ends: Restart,
            unseen: [0.03; 2],
            ..otaa
        },
        Plan {
            name: "deep sleep",
            ..deep
        },
        Plan {
            name: "deep sleep, few contents",
            payload: Payload::Few(4),
            unseen: [0.08, 0.12],
            ..deep
        },
        Plan {
            name: "deep sleep, equal",
            ..equal
        },
        Plan {
            name: "deep sleep, equal, slow",
            period: (10 * MINUTE, DAY),
            unseen: [0.08; 2],
            ..equal
        },
        Plan {
            name: "deep sleep, equal, fast",
            period: (10 * SECOND, 4 * MINUTE),
            ..equal
        },
        Plan {
            name: "deep sleep after each",
            life: 1,
            unseen: [0.0, 0.02],
            ..deep
        },
        Plan {
            name: "deep sleep after each, equal",
            life: 1,
            unseen: [0.0, 0.5],
            ..equal
        },
        Plan {
            name: "deep sleep in winter",
            silence: 0.02,
            ..deep
        },
        Plan {
            name: "deep sleep twice",
            again: 1.0,
            again_after: 2 * SECOND,
            ..deep
        },
        Plan {
            name: "deep sleep in disorder",
            disorder: 3 * SECOND,
            ..deep
        },
        Plan {
            name: "confirmed",
            ..confirmed
        },
        Plan {
            name: "twice",
            again_after: 2 * SECOND,
            ..twice
        },
        Plan {
            name: "twice, equal",
            again_after: 2 * SECOND,
            payload: Payload::Equal,
            ..twice
        },
        Plan {
            name: "twice after minutes",
            again_after: 2 * MINUTE,
            ..twice
        },
        Plan {
            name: "twice after hours",
            again_after: 2 * HOUR,
            ..twice
        },
        Plan {
            name: "disorder",
            disorder: 3 * SECOND,
            ..fast
        },
        Plan {
            name: "disorder of minutes",
            disorder: 4 * MINUTE,
            period: (10 * SECOND, HOUR),
            ..abp
        },
        Plan {
            name: "disorder of an hour",
            disorder: HOUR,
            period: (2 * MINUTE, HOUR),
            ..abp
        },
        Plan {
            name: "disorder and twice",
            disorder: 3 * SECOND,
            again_after: 5 * SECOND,
            period: (SECOND, MINUTE),
            ..twice
        },
        Plan {
            name: "winter",
            silence: 0.02,
            ..abp
        },
        Plan {
            name: "away",
            away: 0.03,
            ..abp
        },
        Plan {
            name: "drops",
            drops: 0.03,
            ..abp
        },
        Plan {
            name: "the client restarts",
            client_restarts: 0.03,
            disorder: 3 * SECOND,
            ..fast
        },
        Plan {
            name: "the client and the device restart",
            client_restarts: 0.03,
            ..deep
        },
        Plan {
            name: "simulated ones between",
            simulated: 0.3,
            ..abp
        },
        Plan {
            name: "all of it, new sessions",
            ends: NewSession,
            life: 80,
            ..all
        },
        Plan {
            name: "all of it, confirmed",
            tries: 4,
            ..all
        },
        Plan {
            name: "all of it, restarts",
            ends: Restart,
            life: 6,
            within: deep.within,
            unseen: [0.15; 2],
            ..all
        },
    ]
}
