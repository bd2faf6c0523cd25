# CIFAR-10 from its Python batches: top-1 accuracy.
_base_ = "./transfer.py"

data_root = "data/cifar"
num_classes = 10
data_preprocessor = dict(num_classes=num_classes)
_data = dict(name="cifar10", data_root=data_root)
train_dataloader = dict(dataset=_data)
val_dataloader = dict(dataset=_data)
test_dataloader = dict(dataset=_data)
