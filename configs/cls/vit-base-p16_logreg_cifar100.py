# Linear transfer to CIFAR-100: top-1 on test.
_base_ = "./vit-base-p16_logreg_food101.py"

name = "cifar100"
data_root = "data/cifar"
_data = dict(dataset=dict(name=name, data_root=data_root))
test_dataloader = _data
test_cfg = dict(train=_data, val=_data, metric="top1")
