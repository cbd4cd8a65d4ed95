"""One process that does what python3-etcd is used for, at the members at argv[3:]: argv[1] is the recipe, argv[2] the
process's name. It says what happens, a line each, until it is killed; SIGTERM asks who has it to give it up.
"""
import signal
import sys
import time
import urllib.parse

import etcd

TTL = 3  # seconds that a holder may be silent


def say(*words):
    print(*words, flush=True)


def leave(signum, frame):
    """Only notes it: an exception out of a signal's handler can leave a lock of the client's connections taken."""
    global leaving
    leaving = True


def insist(ask):
    """Asks until the outcome is known: when a member says that nobody knows it, since the leader died, it may have happened."""
    while True:
        try:
            return ask()
        except (etcd.EtcdKeyError, etcd.EtcdValueError, etcd.EtcdLockExpired):
            raise  # an outcome
        except etcd.EtcdException:
            time.sleep(0.05)


def lock():
    lock = etcd.Lock(client, 'l')
    insist(lambda: lock.acquire(blocking=False, lock_ttl=60))  # into the queue, where nobody renews
    say('stands')
    insist(lambda: lock.acquire(lock_ttl=60))
    say('holds')
    while not leaving:
        insist(lambda: lock.acquire(lock_ttl=TTL))  # renews
        say('renewed')
        time.sleep(0.2)
    insist(lock.release)
    say('released')


def election():
    while not leaving:
        try:
            insist(lambda: client.write('/leader', name, ttl=TTL, prevExist=False))
        except etcd.EtcdAlreadyExist:
            say('stands')
            if follow():
                continue
        say('leads')
        while not leaving:
            time.sleep(0.2)
            insist(lambda: client.refresh('/leader', TTL, prevValue=name))
            say('renewed')
        try:
            insist(lambda: client.delete('/leader', prevValue=name))
        except (etcd.EtcdKeyNotFound, etcd.EtcdCompareFailed):
            pass  # the first try has happened
        say('released')


def follow():
    """Waits until the leader may be another one. False: it is this process, whose first try has happened."""
    try:
        leader = insist(lambda: client.read('/leader', quorum=True))
    except etcd.EtcdKeyNotFound:
        return True
    if leader.value == name:
        return False
    say('follows', leader.value)
    event = insist(lambda: client.watch('/leader', index=leader.etcd_index + 1, timeout=0))
    say(event.action)
    return True


def watch():
    say('watches')
    for event in client.eternal_watch('/w', index=1, recursive=True):
        say(event.value)


leaving = False
recipe, name, *urls = sys.argv[1:]
signal.signal(signal.SIGTERM, leave)
hosts = tuple((u.hostname, u.port) for u in map(urllib.parse.urlparse, urls))
client = etcd.Client(host=hosts, allow_reconnect=True, read_timeout=5)
{'lock': lock, 'election': election, 'watch': watch}[recipe]()
