# Linear transfer to Oxford-IIIT Pets: mean per-class accuracy on test.
_base_ = "./resnet50_logreg_food101.py"

name = "pets"
data_root = "data/pets"
_data = dict(dataset=dict(name=name, data_root=data_root))
test_dataloader = _data
test_cfg = dict(train=_data, val=_data, metric="mean_per_class")
