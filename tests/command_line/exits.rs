//! The exit statuses that all commands share.

use ttn::{Network, simulator::Simulator};

use crate::program::{finish, ttn, ttn_on};

#[test]
fn an_unknown_command_is_wrong_usage() {
    let (status, out, errors) = finish(ttn(["dance"]));
    assert_eq!((status, out.as_str()), (2, ""));
    assert!(errors.contains("dance"), "{errors}");
}

#[test]
fn a_key_on_the_command_line_is_warned_of_and_not_repeated() {
    let network = Simulator::start(Network::V3).expect("the simulated network starts");
    let mut command = ttn_on(&network, ["queue", "--key", "NNSXS.ID.SECRET"]);
    command.env_remove("TTN_ACCESS_KEY");
    let (_, out, errors) = finish(command);
    assert!(errors.contains("process list"), "{errors}");
    assert!(!(out + &errors).contains("SECRET"), "the key is printed");
}
