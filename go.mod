module etcd2

go 1.26
