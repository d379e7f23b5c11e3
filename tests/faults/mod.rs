//! What nodes promise when machines, disks and files fail.

mod damage;
mod failover;
mod far_behind;
mod full_disk;
mod kill_loop;
