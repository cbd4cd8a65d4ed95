"""What people do with python3-etcd, asserted against the server at argv[1]."""
import sys
import threading
import urllib.parse

import etcd

port = urllib.parse.urlparse(sys.argv[1]).port
client = etcd.Client(host='127.0.0.1', port=port, read_timeout=10)

# Keys: write, read, compare, delete.
assert client.write('/k', 'one').action == 'set'
first = client.read('/k')
assert first.value == 'one' and first.etcd_index >= first.modifiedIndex
client.test_and_set('/k', 'two', 'one')
try:
    client.test_and_set('/k', 'three', 'one')
    raise AssertionError('a failed compare is accepted')
except etcd.EtcdCompareFailed:
    pass
try:
    client.write('/k', 'x', prevExist=False)
    raise AssertionError('an existing key is created')
except etcd.EtcdAlreadyExist:
    pass
result = client.read('/k')
result.value = 'four'
assert client.update(result).value == 'four'
assert client.delete('/k').action == 'delete'
assert '/k' not in client

# Directories, in-order keys, listings.
client.write('/d/sub/k', 'v')
keys = [client.write('/d/queue', i, append=True).key for i in range(3)]
assert keys == sorted(keys)
tree = client.read('/d', recursive=True, sorted=True)
assert [leaf.key for leaf in tree.leaves] == keys + ['/d/sub/k']
try:
    client.delete('/d', dir=True)
    raise AssertionError('a directory with content is deleted')
except etcd.EtcdDirNotEmpty:
    pass
client.delete('/d', recursive=True)

# A time to live, and a watch that sees its end.
client.write('/ttl', 'v', ttl=1)
assert client.read('/ttl').ttl == 1
assert client.watch('/ttl', timeout=5).action == 'expire'

# A watch of the past, and one of the future.
index = client.write('/w', 'past').modifiedIndex
assert client.read('/w', wait=True, waitIndex=index).value == 'past'
threading.Timer(0.2, lambda: etcd.Client(host='127.0.0.1', port=port).write('/w', 'future')).start()
assert client.watch('/w', timeout=5).value == 'future'
for event in client.eternal_watch('/w', index=index):
    if event.value == 'future':
        break

# A lock: taken, refused to another, released, taken again.
lock, other = etcd.Lock(client, 'l'), etcd.Lock(client, 'l')
assert lock.acquire(blocking=True, lock_ttl=30) and lock.is_acquired
assert not other.acquire(blocking=False, lock_ttl=30)
lock.release()
assert other.acquire(blocking=True, timeout=5, lock_ttl=30)
other.release()

# The cluster as the client sees it.
assert len(client.members) == 1
assert client.leader['name'] == 'default'
assert client.stats['name'] == 'default'
assert len(client.machines) >= 1
print('ok')
