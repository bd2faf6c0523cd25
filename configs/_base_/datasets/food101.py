# Food-101: top-1 accuracy.
_base_ = "./transfer.py"

data_root = "data/food-101"
num_classes = 101
data_preprocessor = dict(num_classes=num_classes)
_data = dict(name="food101", data_root=data_root)
train_dataloader = dict(dataset=_data)
val_dataloader = dict(dataset=_data)
test_dataloader = dict(dataset=_data)
