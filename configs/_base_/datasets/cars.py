# Stanford Cars: top-1 accuracy.
_base_ = "./transfer.py"

data_root = "data/cars"
num_classes = 196
data_preprocessor = dict(num_classes=num_classes)
_data = dict(name="cars", data_root=data_root)
train_dataloader = dict(dataset=_data)
val_dataloader = dict(dataset=_data)
test_dataloader = dict(dataset=_data)
