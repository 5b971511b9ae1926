//! The control socket `LAB/control.sock`: lets a shell drive a lab that another process holds (the `lab` example, a demo).
//!
//! One line per connection: `on N`, `off N`, `link N eth0|eth1|both up|down`, `cut A B`, `isolate N`, `heal`,
//! `pdu pdu-a|pdu-b works|fails|hangs|lies|sticks|late`, `pid N`, `events`. The answer ends with the connection; errors begin with `error: `.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use super::pdu::{PduMode, listen};
use super::switch::{Cable, Link};
use super::{Node, World};

pub fn serve(world: &Arc<World>) {
    listen(world, &world.dir.join("control.sock"), |world, mut stream| {
        let mut line = String::new();
        if stream.set_nonblocking(false).is_err() || BufReader::new(&stream).read_line(&mut line).is_err() {
            return;
        }
        let answer = obey(world, line.trim()).unwrap_or_else(|error| format!("error: {error}"));
        let _ = writeln!(stream, "{answer}");
    });
}

/// Sends one line to a lab's control socket and returns its answer.
pub fn ask(lab: &std::path::Path, line: &str) -> std::io::Result<String> {
    let mut stream = UnixStream::connect(lab.join("control.sock"))?;
    writeln!(stream, "{line}")?;
    let mut answer = String::new();
    std::io::Read::read_to_string(&mut stream, &mut answer)?;
    Ok(answer.trim_end().to_owned())
}

fn obey(world: &World, line: &str) -> Result<String, String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    match words.as_slice() {
        ["on", node] => known(world, node)?.on(),
        ["off", node] => known(world, node)?.off(),
        ["pid", node] => {
            return known(world, node)?.pid().map(|pid| pid.to_string()).ok_or(format!("{node} is off"));
        }
        ["link", node, which, state] => {
            let cable = match *state {
                "up" => Cable::Plugged,
                "down" => Cable::Pulled,
                _ => return Err("a link goes up or down".into()),
            };
            let links: &[Link] = match *which {
                "eth0" => &[Link::Eth0],
                "eth1" => &[Link::Eth1],
                "both" => &Link::BOTH,
                _ => return Err("the links are eth0, eth1 or both".into()),
            };
            let node = known(world, node)?;
            links.iter().for_each(|link| node.set_cable(*link, cable));
        }
        ["cut", a, b] => {
            for host in [a, b].into_iter().filter(|host| **host != "client") {
                known(world, host)?;
            }
            world.cut(a, b, &Link::BOTH);
        }
        ["isolate", node] => {
            known(world, node)?;
            world.machines.keys().filter(|other| other != node).for_each(|other| world.cut(node, other, &Link::BOTH));
        }
        ["heal"] => world.heal(),
        ["pdu", name, mode] => {
            let mode = match *mode {
                "works" => PduMode::Works,
                "fails" => PduMode::Fails,
                "hangs" => PduMode::Hangs,
                "lies" => PduMode::Lies,
                "sticks" => PduMode::Sticks,
                "late" => PduMode::Late,
                _ => return Err("a PDU works, fails, hangs, lies, sticks or is late".into()),
            };
            world.pdus.iter().find(|pdu| pdu.name == *name).ok_or("the PDUs are pdu-a and pdu-b")?.set_mode(mode);
            world.note(&format!("{name} mode {mode:?}"));
        }
        ["events"] => return std::fs::read_to_string(world.dir.join("lab.log")).map_err(|error| error.to_string()),
        _ => return Err(format!("unknown command `{line}`")),
    }
    Ok("ok".into())
}

fn known<'lab>(world: &'lab World, name: &str) -> Result<Node<'lab>, String> {
    if world.machines.contains_key(name) { Ok(world.node(name)) } else { Err(format!("no node `{name}`")) }
}
