# Linear probes of ResNet-50 with 20 settings in one training: the pooled map.
_base_ = "./vit-base-p16_8xb128-linear-many-coslr-10e_in1k.py"

model = dict(
    backbone=dict(_delete_=True, type="ResNet", depth=50), features=["mean"], in_channels=2048
)
