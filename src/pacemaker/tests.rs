//! Small clusters, as a CIB tells them.

use super::*;
