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

# A refresh: the key lives longer, and nobody who watches is told.
client.write('/refreshed', 'v', ttl=1)
index = client.refresh('/refreshed', ttl=30).modifiedIndex
assert client.read('/refreshed').ttl > 1 and client.read('/refreshed').value == 'v'
try:
    print(client.watch('/refreshed', index=index, timeout=0.3).action)
    raise AssertionError('a refresh is told')
except etcd.EtcdWatchTimedOut:
    pass
assert client.pop('/refreshed').value == 'v'

# A directory that ends takes all below it along; a recursive watch sees it.
client.write('/lease', None, dir=True, ttl=30)
client.write('/lease/holder', 'v')
index = client.write('/lease', None, dir=True, ttl=1, prevExist=True).modifiedIndex
event = client.watch('/lease', index=index + 1, timeout=5, recursive=True)
assert event.action == 'expire' and event.key == '/lease' and event.dir
assert '/lease/holder' not in client

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

# A watch from before the history.
index = client.write('/old', 0).modifiedIndex
for i in range(1, 30):
    client.write('/old', i)
try:
    client.watch('/old', index=index, timeout=5)
    raise AssertionError('the history has no end')
except etcd.EtcdEventIndexCleared as e:
    assert e.payload['index'] >= index + 29

# Users and roles.
from etcd.auth import Auth, EtcdRole, EtcdUser

role = EtcdRole(client, 'shop')
role.grant('/shop/*', 'RW')
role.write()
role.revoke('/shop/*', 'W')
role.write()
role = EtcdRole(client, 'shop')
role.read()
assert role.acls == {'/shop/*': 'R'} and 'shop' in [r['role'] for r in role.names]
for name, roles in (('root', []), ('joe', ['shop'])):
    user = EtcdUser(client, name)
    user.password = 'pw'
    user.roles = roles
    user.write()
assert [u['user'] for u in user.names] == ['joe', 'root']
Auth(client).active = True
try:
    etcd.Client(host='127.0.0.1', port=port, username='joe', password='pw').write('/shop/k', 'v')
    raise AssertionError('joe writes')
except etcd.EtcdInsufficientPermissions:
    pass
client = etcd.Client(host='127.0.0.1', port=port, read_timeout=10, username='root', password='pw')
Auth(client).active = False
user = EtcdUser(client, 'joe')
user.delete()
role.delete()

# The cluster as the client sees it.
assert len(client.members) == 1
assert client.leader['name'] == 'default'
assert client.stats['name'] == 'default'
assert len(client.machines) >= 1
print('ok')
