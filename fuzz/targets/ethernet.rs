//! Frames from either office, in any order and at any pace: each is forwarded, answered or counted, an answer is a right frame, what is cut
//! for the line is the frame, and a segment that TCP agrees on only ever becomes smaller.
#![no_main]

use std::sync::Arc;
use std::time::{Duration, Instant};

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use tieline_line::Shared;
use tieline_line::lan::{Blocked, Config, Lan, Verdict, mss, super_frame::SuperFrame};
use tieline_wire::ethernet::{EthernetFrame, MacAddress};
use tieline_wire::vnet::{VNET_HEADER_LEN, VnetHeader};

#[derive(Arbitrary, Debug)]
struct Step {
    is_near: bool,
    pause_ms: u16,
    header: Option<[u8; VNET_HEADER_LEN]>,
    octets: Vec<u8>,
}

fuzz_target!(|steps: Vec<Step>| {
    let shared: Arc<Shared> = Arc::default();
    let mut now = Instant::now();
    let config = Config {
        line: *b"the line",
        end: *b"this end",
        device: MacAddress([0xfe, 0, 0, 0, 0, 1]),
        probes_from: MacAddress([0xfe, 0, 0, 0, 0, 2]),
        dhcp: false,
        router_advertisements: false,
        storm_limit: 100,
    };
    let mut lan = Lan::new(config, now, Arc::clone(&shared));
    for mut step in steps {
        now += Duration::from_millis(step.pause_ms.into());
        let before = step.octets.clone();
        mss::clamp(&mut step.octets, 1420, true);
        let changed = before.iter().zip(&step.octets).filter(|(old, new)| old != new).count();
        assert!(changed <= 4 && before.len() == step.octets.len());
        let Ok(frame) = EthernetFrame::parse(&step.octets) else { continue };
        let header = step.header.map_or(Ok(VnetHeader::PLAIN), |octets| VnetHeader::parse(&octets));
        if let Ok(header) = header
            && let Ok(frames) = SuperFrame::parse(&header, &frame)
        {
            let mut out = vec![0; frames.len_max()];
            for index in 0..frames.count() {
                let len = frames.write(index, &mut out);
                assert_eq!(out[..frames.link_len()], *frame.link);
                assert!(len <= frames.len_max());
            }
            if header == VnetHeader::PLAIN {
                assert_eq!(out, step.octets);
            }
        }
        let total = || Blocked::ALL.iter().map(|reason| shared.lan.read(*reason)).sum::<u64>();
        let counted = total();
        let goes = if step.is_near {
            match lan.handle_near(now, &frame, 1) {
                Verdict::Forward => true,
                Verdict::Answer(answer) => {
                    assert!(EthernetFrame::parse(answer.octets()).is_ok());
                    continue;
                }
                Verdict::Stay => false,
            }
        } else {
            lan.handle_far(now, &frame)
        };
        // A probe of this line is not counted, and stays.
        let is_probe = frame.content.starts_with(b"tieline loop");
        assert!(goes || total() == counted + 1 || is_probe);
        while lan.poll_alarm().is_some() {}
        let _ = lan.poll_probe(now);
    }
});
