//! Start cores, writer, admin; signals; drain order.
