//! Two whole ends on virtual time: how soon the line is there, and how soon it is there again.

mod start;
