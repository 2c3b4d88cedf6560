"""The XML file of an OpenVINO model, written by hand: no OpenVINO is needed."""

from pathlib import Path

MODEL = """<?xml version="1.0"?>
<net name="small" version="11">
  <layers>
    <layer id="0" name="x" type="Parameter" version="opset1">
      <data shape="?,3,1..9" element_type="f32"/>
      <output><port id="0" precision="FP32" names="x,also\\,x"><dim>-1</dim><dim>3</dim><dim>-1</dim></port></output>
    </layer>
    <layer id="7" name="w" type="Const" version="opset1">
      <data element_type="{weight}" shape="4, 3" offset="0" size="48"/>
      <output><port id="0" precision="FP32"><dim>4</dim><dim>3</dim></port></output>
    </layer>
    <layer id="2" name="product" type="MatMul" version="opset1">
      <data transpose_a="false"/>
      <input><port id="0"><dim>4</dim></port></input>
      <output><port id="2" precision="BF16" names="scores"><dim>-1</dim><dim>4</dim></port></output>
      <rt_info><attribute name="x" value="of a layer"/></rt_info>
    </layer>
    <layer id="3" name="scores/sink" type="Result" version="opset1"/>
  </layers>
  <edges>
    <edge from-layer="7" from-port="0" to-layer="2" to-port="0"/>
    <edge from-layer="2" from-port="2" to-layer="3" to-port="0"/>
  </edges>
  <rt_info><Runtime_version value="2026"/><tool><key value="a&#10;&quot;b&quot;"/></tool></rt_info>
</net>
"""


def save(folder: Path, text: str) -> Path:
    path = folder / "m.xml"
    path.write_text(text, encoding="utf-8")
    return path
