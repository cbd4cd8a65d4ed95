#!/bin/bash
# A machine of its own, for a systemd that is its process 1. It is started in new namespaces, with a directory of the host in $1: that has
# etcd2, and the units in a directory "units", and is /run/keep here. All else that can be written is in memory, so that nothing of the host
# is changed; the host's own files are seen, and cannot be.
set -e
mount --make-rprivate /
mount -t tmpfs tmpfs /mnt
mkdir /mnt/keep /mnt/dev
mount --bind "$1" /mnt/keep
mount -n -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/keep /run/systemd/system /run/lock /run/mount
mount -n --move /mnt/keep /run/keep
mount -t tmpfs tmpfs /var
mkdir -p /var/lib/private /var/log /var/tmp /var/cache
chmod 700 /var/lib/private
for dir in /tmp /root /home /etc/systemd/system; do
  [ ! -d $dir ] || mount -t tmpfs tmpfs $dir
done

mount -t tmpfs -o mode=755 tmpfs /mnt/dev
mkdir /mnt/dev/pts /mnt/dev/shm
while read -r name major minor; do
  mknod -m 666 /mnt/dev/$name c $major $minor
done <<'NODES'
null 1 3
zero 1 5
full 1 7
random 1 8
urandom 1 9
kmsg 1 11
tty 5 0
console 5 1
NODES
for link in fd: stdin:/0 stdout:/1 stderr:/2; do
  ln -s /proc/self/fd${link#*:} /mnt/dev/${link%:*}
done
mount --move /mnt/dev /dev
mount -t tmpfs tmpfs /dev/shm
mount -t devpts -o newinstance,ptmxmode=666 devpts /dev/pts
ln -s pts/ptmx /dev/ptmx

# Where the host has not given all its groups of processes to version 2, one tree of version 1 is enough for systemd.
if [ "$(stat -f -c %T /sys/fs/cgroup)" = cgroup2fs ]; then
  mount -t cgroup2 cgroup2 /sys/fs/cgroup
else
  mount -t tmpfs -o mode=755 tmpfs /sys/fs/cgroup
  mkdir /sys/fs/cgroup/systemd
  mount -t cgroup -o none,name=systemd cgroup /sys/fs/cgroup/systemd
fi

cp -r /run/keep/units/. /etc/systemd/system
ip link set lo up
mount --bind /proc/sys /proc/sys
for dir in / /sys /proc/sys; do
  mount -o remount,bind,ro $dir
done
container=lxc exec /lib/systemd/systemd --system --unit=probe.service --log-target=console --show-status=no
