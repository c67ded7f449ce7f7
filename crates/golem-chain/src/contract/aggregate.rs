//! Many questions to one contract in one call.
//!
//! Owns a program that asks them all and gives the answers, run by `eth_call` as if it made a contract: so nothing has to be
//! deployed on the chain, and an endpoint that takes no batches is asked once for forty streams. It tells the time of the
//! block that it ran on, too. Never asks anything itself.

use alloy_primitives::Address;

/// Most questions of one program: the answers have to fit into what a contract may be, 24,576 bytes, at 14 words each; gas
/// then stays below 6 million, which public endpoints allow.
pub(crate) const MOST: usize = 40;

/// Where the answers begin in memory, after the question and what was found.
const FLAG: usize = 0x40;
const ANSWERS: usize = 0x80;

/// The program that asks `to` each of `questions`, whose answers have `words` words each.
pub(crate) fn program(to: Address, questions: &[Vec<u8>], words: usize) -> Option<Vec<u8>> {
    let two = |number: usize| u16::try_from(number).ok().map(u16::to_be_bytes);
    let mut code = vec![0x60, 1]; // PUSH1 1: all is well so far.
    for (n, question) in questions.iter().enumerate() {
        let (head, tail) = question.split_at_checked(32)?;
        let tail = <[u8; 4]>::try_from(tail).ok()?;
        code.push(0x7f); // PUSH32, PUSH1 0, MSTORE
        code.extend(head);
        code.extend([0x60, 0, 0x52]);
        code.push(0x63); // PUSH4, PUSH1 224, SHL, PUSH1 32, MSTORE
        code.extend(tail);
        code.extend([0x60, 224, 0x1b, 0x60, 32, 0x52]);
        code.push(0x61); // PUSH2: bytes of the answer
        code.extend(two(32 * words)?);
        code.push(0x61); // PUSH2: where it goes
        code.extend(two(ANSWERS + 32 * words * n)?);
        code.extend([0x60, 36, 0x60, 0, 0x73]); // PUSH1 36, PUSH1 0, PUSH20
        code.extend(to.as_slice());
        code.extend([0x5a, 0xfa, 0x16]); // GAS, STATICCALL, AND
        code.extend([0x3d, 0x61]); // RETURNDATASIZE, PUSH2, EQ, AND
        code.extend(two(32 * words)?);
        code.extend([0x14, 0x16]);
    }
    code.extend([0x60, 0x40, 0x52, 0x42, 0x60, 0x60, 0x52]); // MSTORE at 64; TIMESTAMP, MSTORE at 96
    code.push(0x61); // PUSH2, PUSH1 64, RETURN
    code.extend(two(ANSWERS - FLAG + 32 * words * questions.len())?);
    code.extend([0x60, 0x40, 0xf3]);
    Some(code)
}

/// The answers in what the program gave, and the time of its block; `None` if one question had none of that length.
pub(crate) fn answers(given: &[u8], count: usize, words: usize) -> Option<(u128, Vec<Vec<u8>>)> {
    if given.len() != ANSWERS - FLAG + 32 * words * count {
        return None;
    }
    let (flag, rest) = given.split_at_checked(32)?;
    let (time, rest) = rest.split_at_checked(32)?;
    let is_well = flag.last() == Some(&1) && flag.iter().filter(|byte| **byte != 0).count() == 1;
    let time = u128::from_be_bytes(time.get(16..)?.try_into().ok()?);
    is_well.then(|| (time, rest.chunks_exact(32 * words).map(<[u8]>::to_vec).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_fits_and_its_answers_are_taken_apart() {
        // A selector and one word.
        let question = vec![7; 36];
        let one = program(Address::ZERO, std::slice::from_ref(&question), 14).unwrap();
        let all = program(Address::ZERO, &vec![question.clone(); MOST], 14).unwrap();
        assert_eq!(all.len() - one.len(), 87 * (MOST - 1), "each question takes as much");
        assert!(all.len() < 49_152 && 64 + MOST * 14 * 32 < 24_576);
        assert_eq!(program(Address::ZERO, &[vec![7; 35]], 9), None);
        let mut given = vec![0; 64 + 2 * 32];
        (given[31], given[63], given[95]) = (1, 5, 6);
        let (time, answers_) = answers(&given, 2, 1).unwrap();
        assert_eq!((time, answers_.len(), answers_[0][31]), (5, 2, 6));
        assert_eq!(answers(&given, 3, 1), None);
        given[31] = 0;
        assert_eq!(answers(&given, 2, 1), None, "one question had no answer");
    }
}
